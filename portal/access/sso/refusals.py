"""Reasons for which a single sign-on is refused, and the page of each: it says what to do, and nothing of the token."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from portal.access.models import User


@dataclass(frozen=True)
class RefusalPage:
    """Texts of the page: a heading, and what to do."""

    title: str | Promise
    advice: str | Promise
    status: HTTPStatus = HTTPStatus.FORBIDDEN


_UNVERIFIED = RefusalPage(
    _("The sign-in couldn't be verified"),
    _("Try again. If it happens again, ask an admin to look for the request ID below in the log."),
)
_UNREACHABLE = RefusalPage(
    _("The identity provider didn't respond as expected"),
    _("Try again in a few minutes. If it happens again, ask an admin to look for the request ID below in the log."),
    HTTPStatus.BAD_GATEWAY,
)
# By the code that the audit log records. All others are what is wrong with a token: one page for all of them.
EXPLANATIONS = {
    "canceled": RefusalPage(_("The sign-in was canceled"), _("Try again, or choose another way to sign in.")),
    "state": RefusalPage(
        _("This sign-in has expired"),
        _("It was already used, took longer than 10 minutes, or began in another browser. Try again."),
    ),
    "unreachable": _UNREACHABLE,
    "provider_error": _UNREACHABLE,
    "client": RefusalPage(
        _("The identity provider doesn't accept the portal"),
        _("Ask whoever operates the portal to check its client ID and secret at the provider, then try again."),
        HTTPStatus.BAD_GATEWAY,
    ),
    "unknown": RefusalPage(
        _("You aren't linked to a team member yet"),
        _(
            "If you have a password, sign in with it and connect single sign-on in your profile. If you were invited, "
            "open the link in the invitation. Otherwise, ask an admin to invite you."
        ),
    ),
    "formerly_linked": RefusalPage(
        _("This sign-in was disconnected"),
        _(
            "If you got a link to connect it again, open the link. If you have a password, sign in with it and connect "
            "single sign-on in your profile. Otherwise, ask an admin to connect you."
        ),
    ),
    "no_group": RefusalPage(
        _("None of your groups has access"),
        _("Ask whoever manages your groups at the identity provider to add you to one that has, then try again."),
    ),
    "disabled": RefusalPage(_("Your access is disabled"), _("Ask an admin to enable it.")),
    "linked_to_other": RefusalPage(
        _("This sign-in belongs to another team member"),
        _("Sign out at the identity provider, then try again with your own sign-in there."),
    ),
    "already_linked": RefusalPage(
        _("You're already connected to another sign-in"),
        _("Disconnect it in your profile, or ask an admin to reset your sign-in."),
    ),
    "another_person": RefusalPage(
        _("You signed in as someone else"),
        _("Sign out at the identity provider, then try again with your own sign-in there."),
    ),
    "access_changed": RefusalPage(
        _("Your access has changed"), _("Nothing was changed. Sign in, then try again.")
    ),
    "link_ended": RefusalPage(
        _("This link is no longer valid"), _("It was already used, has expired, or was replaced. Ask for a new one."),
    ),
    "auth_time": RefusalPage(
        _("The identity provider didn't ask you to sign in again"),
        _("Try again. If it happens again, ask an admin to look for the request ID below in the log."),
    ),
}  # fmt: skip


class SsoRefused(Exception):
    """A single sign-on that is refused. `code` says why, for the audit log and the page; `person` is who it concerns,
    if known; `detail` is for the log alone."""

    def __init__(self, code: str, *, person: User | None = None, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.person, self.detail = code, person, detail

    @property
    def explanation(self) -> RefusalPage:
        return EXPLANATIONS.get(self.code, _UNVERIFIED)
