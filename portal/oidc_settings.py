"""Settings of single sign-on with OpenID Connect (portal/access/sso). A part of `portal.settings`."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from portal.access.roles import Role
from portal.environment import PRODUCTION, env, listed

# Hosts of an issuer that may be without TLS outside production: a provider on the developer's own machine.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LONGEST_ISSUER = 200  # what the table of linked sign-ins holds

# --- The provider: one for each installation, none without OIDC_ISSUER ------------------------------------
OIDC_ISSUER: str = env.str("OIDC_ISSUER", default="").strip()
OIDC_CLIENT_ID: str = env.str("OIDC_CLIENT_ID", default="").strip()
OIDC_CLIENT_SECRET: str = env.str("OIDC_CLIENT_SECRET", default="")
# The name that team members know it by, as on the button "Sign in with ...".
OIDC_NAME: str = env.str("OIDC_NAME", default="").strip() or "single sign-on"
OIDC_SCOPES = listed("OIDC_SCOPES", default=["openid", "email", "profile"])

# --- Roles from groups -------------------------------------------------------------------------------------
OIDC_GROUPS_CLAIM: str = env.str("OIDC_GROUPS_CLAIM", default="groups")
# `group=role`; the first group of the list that a person has decides. Empty: roles are set on the Team members page.
_roles = listed("OIDC_ROLES", default=[])
OIDC_ROLES: list[tuple[str, str]] = []

# --- What it replaces --------------------------------------------------------------------------------------
# Values of the claim `amr` that prove a second factor.
OIDC_SECOND_FACTOR = listed("OIDC_SECOND_FACTOR", default=["mfa"])
# An unknown person with a mapped group becomes a team member.
OIDC_CREATE: bool = env.bool("OIDC_CREATE", default=False)
# Team members who are linked can't sign in with a password.
OIDC_ONLY: bool = env.bool("OIDC_ONLY", default=True)

for _entry in _roles:
    _group, _, _role = (each.strip() for each in _entry.rpartition("="))
    if not _group or _role not in Role.values:
        raise ImproperlyConfigured(
            f'OIDC_ROLES contains "{_entry}". Each entry is group=role. Roles: {", ".join(Role.values)}.'
        )
    OIDC_ROLES.append((_group, _role))

if OIDC_ROLES and not OIDC_ONLY:
    raise ImproperlyConfigured(
        "OIDC_ONLY is off while OIDC_ROLES is set: with a password, people would keep roles that their groups took "
        "away. Turn OIDC_ONLY on, or empty OIDC_ROLES."
    )
if "pwd" in OIDC_SECOND_FACTOR:
    raise ImproperlyConfigured("OIDC_SECOND_FACTOR contains pwd, which is a password. Remove it.")

if OIDC_ISSUER:
    try:
        _parts = urlsplit(OIDC_ISSUER)
        _host = _parts.hostname or ""
    except ValueError:
        _parts, _host = urlsplit(""), ""
    if not _host or _parts.query or _parts.fragment or "@" in _parts.netloc or len(OIDC_ISSUER) > _LONGEST_ISSUER:
        raise ImproperlyConfigured(
            f'OIDC_ISSUER is "{OIDC_ISSUER}". Set it to the issuer of the provider, such as https://id.example.com/realm.'
        )
    if _parts.scheme != "https" and (PRODUCTION or _parts.scheme != "http" or _host not in _LOOPBACK):
        raise ImproperlyConfigured(f'OIDC_ISSUER is "{OIDC_ISSUER}". It must begin with https://.')
    for _name, _value in (("OIDC_CLIENT_ID", OIDC_CLIENT_ID), ("OIDC_CLIENT_SECRET", OIDC_CLIENT_SECRET)):
        if not _value:
            raise ImproperlyConfigured(f"{_name} is not set while OIDC_ISSUER is. Set it to the one of the provider.")
    if "openid" not in OIDC_SCOPES:
        raise ImproperlyConfigured("OIDC_SCOPES does not contain openid. Add it.")
    if OIDC_CREATE and not OIDC_ROLES:
        raise ImproperlyConfigured("OIDC_CREATE is on while OIDC_ROLES is empty. Set OIDC_ROLES, or unset OIDC_CREATE.")

# --- allauth: its provider and table, with the portal's own routes and checks (portal/access/sso) -----------
SOCIALACCOUNT_ADAPTER = "portal.access.sso.provider.SsoAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = False
SOCIALACCOUNT_AUTO_SIGNUP = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
SOCIALACCOUNT_STORE_TOKENS = False
