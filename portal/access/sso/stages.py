"""Single sign-on among the stages of a sign-in."""

from __future__ import annotations

from allauth.account.authentication import get_authentication_records
from allauth.mfa.stages import AuthenticateStage
from django.http import HttpRequest

from portal.access.models import User

METHOD = "socialaccount"  # allauth's name of single sign-on in the records of a session


class SecondFactorStage(AuthenticateStage):  # type: ignore[misc]  # allauth has no types
    """Ask for the portal's second factor, unless the identity provider proved one in this sign-in."""

    def _should_handle(self, request: HttpRequest) -> bool:
        return super()._should_handle(request) and not has_second_factor(request, self.login.user)


def has_second_factor(request: HttpRequest, user: User) -> bool:
    """Return whether the single sign-on of this session proved a second factor (OIDC_SECOND_FACTOR)."""
    records = get_authentication_records(request, user)
    return bool(records) and records[-1]["method"] == METHOD and records[-1].get("second_factor") is True


def is_sso(request: HttpRequest, user: User) -> bool:
    """Return whether the present sign-in is a single sign-on: its first step is the last record that isn't a second
    step. A passkey is either, and its record says which."""
    records = get_authentication_records(request, user)
    first_steps = [each["method"] for each in records if each["method"] != "mfa" or each.get("passwordless")]
    return bool(first_steps) and first_steps[-1] == METHOD
