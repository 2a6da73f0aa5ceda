"""Everyone who can send a request, each with a session as the portal leaves it. A new kind of session is a line here,
and every test that walks over all principals has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import SimpleCookie

from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.mfa.models import Authenticator
from django.test import Client

from portal.access.models import User
from portal.access.roles import Role
from tests.support.factories import PASSWORD, CustomRoleFactory, UserFactory
from tests.support.people import sign_in

# The custom role of the principal "custom", which no built-in role is like: it sees connections, but no cost.
CUSTOM_CODES = ("create_key", "manage_connections", "reveal_key", "schedule_change", "view", "view_connections")


@dataclass(frozen=True)
class Principal:
    """`role` is the built-in role, "custom", or "" for one who is not signed in, as far as the portal is concerned."""

    name: str
    role: str
    make: Callable[[], Client]
    has_factor: bool = True

    def cookies(self) -> SimpleCookie:
        return self.make().cookies


def of_role(role: str) -> Client:
    return sign_in(Client(), UserFactory(role=role))


def with_permissions(codes: Iterable[str]) -> Client:
    return sign_in(Client(), UserFactory(role="custom", custom_role=CustomRoleFactory(permissions=sorted(codes))))


def disabled() -> Client:
    """Return a client whose user was an admin when it signed in."""
    user = UserFactory(role="admin")
    client = sign_in(Client(), user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    return client


def second_factor_pending() -> Client:
    """Return a client that entered the password of an admin, and no second factor yet: nobody is signed in."""
    client, user = Client(), UserFactory(role="admin")
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": ""})
    client.post("/sign-in/", {"login": user.email, "password": PASSWORD})
    assert LOGIN_SESSION_KEY in client.session
    return client


PRINCIPALS = {
    each.name: each
    for each in [
        Principal("nobody", "", Client),
        Principal("disabled", "", disabled),
        Principal("second factor pending", "", second_factor_pending),
        *(Principal(role.value, role.value, lambda role=role: of_role(role.value)) for role in Role),
        Principal(
            "enrolment required",
            "admin",
            lambda: sign_in(Client(), UserFactory(role="admin"), factor=False),
            has_factor=False,
        ),
        Principal("custom", "custom", lambda: with_permissions(CUSTOM_CODES)),
    ]
}
