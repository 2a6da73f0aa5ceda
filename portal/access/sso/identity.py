"""A person as the identity provider knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

_LAST_SECOND = 2**40  # infinity, or a number that is none, is no time

EMAIL_CLAIMS = frozenset({"email", "email_verified"})
# What the token alone says, whatever OIDC_GROUPS_CLAIM names.
DECIDING = frozenset({"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "amr", "acr", "auth_time"})


@dataclass(frozen=True)
class SsoIdentity:
    """The claims that the portal uses. `issuer` and `subject` together are who it is; an email never is.

    `authenticated_at` is when the person last signed in at the provider, in seconds since 1970; 0 if it doesn't say.
    """

    issuer: str
    subject: str
    email: str
    email_is_verified: bool
    name: str
    groups: frozenset[str]
    has_second_factor: bool
    authenticated_at: float

    @property
    def role(self) -> str | None:
        """The role of the first entry of OIDC_ROLES whose group the person has; None if there is none."""
        return next((role for group, role in settings.OIDC_ROLES if group in self.groups), None)


def wanted_claims() -> set[str]:
    """Return the claims, besides the subject, that this installation uses."""
    names = {settings.OIDC_GROUPS_CLAIM} if settings.OIDC_ROLES else set()
    return names | {"name", *EMAIL_CLAIMS} if settings.OIDC_CREATE else names


def with_userinfo(claims: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of an ID token, with the groups, name and email of userinfo where the token has none.

    Nothing else is taken from there: whether and when somebody signed in is what the token alone proves. An email and
    whether it was verified are of one source.
    """
    added = {settings.OIDC_GROUPS_CLAIM, "name"}
    if not claims.keys() >= EMAIL_CLAIMS and "email" in told:
        claims = {name: value for name, value in claims.items() if name not in EMAIL_CLAIMS}
        added |= EMAIL_CLAIMS
    return {name: value for name, value in told.items() if name in added - DECIDING} | dict(claims)


def identity_of_claims(claims: Mapping[str, Any]) -> SsoIdentity:
    """Return the identity of verified claims. A claim of another type than the expected counts as missing."""
    at = claims.get("auth_time")
    return SsoIdentity(
        issuer=claims["iss"],
        subject=claims["sub"],
        email=_text(claims.get("email")),
        email_is_verified=claims.get("email_verified") is True,
        name=_text(claims.get("name")),
        groups=_texts(claims.get(settings.OIDC_GROUPS_CLAIM)),
        has_second_factor=not _texts(claims.get("amr")).isdisjoint(settings.OIDC_SECOND_FACTOR),
        authenticated_at=float(at) if isinstance(at, int | float) and 0 < at < _LAST_SECOND else 0.0,
    )


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(value: object) -> frozenset[str]:
    """Return the texts of a list; a single text is a list of one."""
    if isinstance(value, str):
        return frozenset({value})
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
