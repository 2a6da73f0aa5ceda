"""Single sign-on with OpenID Connect: one identity provider for each installation (docs/decisions/single-sign-on.md).

`provider` and `wire` speak to it with allauth's client, `tokens` checks what it says, `commands` decides who that is.
"""
