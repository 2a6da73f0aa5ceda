"""Personal data of team members: the user, sessions, second factors and single sign-on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.access.models import User
from portal.personal_data import blocks_erasure, declare, holds_addresses

_SIGN_IN = gettext_lazy("Signing in.")
_WITH_USER = gettext_lazy("Until the team member removes it, or is erased.")

declare("auth.Permission", plain="name codename")
declare("auth.Group", plain="name")
declare("contenttypes.ContentType", plain="app_label model")
declare(
    "sessions.Session",
    name=gettext_lazy("Sessions"),
    why=_SIGN_IN,
    until=gettext_lazy("Until the session expires."),
    erased="session_data",
    plain="session_key",
    secret="session_data",  # noqa: S106  the name of a column
)
declare(
    "usersessions.UserSession",
    name=gettext_lazy("Session list"),
    why=gettext_lazy("Showing team members where they are signed in."),
    until=gettext_lazy("Until the session expires."),
    erased="ip user_agent data",
    plain="session_key",
    secret="session_key",  # noqa: S106  the name of a column
    of_user="user",
    removed=True,
)
declare(
    "account.EmailAddress",
    name=gettext_lazy("Sign-in addresses"),
    why=_SIGN_IN,
    until=_WITH_USER,
    erased="email",
    of_user="user",
    removed=True,
)
declare(
    "account.EmailConfirmation",
    name=gettext_lazy("Sign-in address confirmations"),
    why=_SIGN_IN,
    until=_WITH_USER,
    plain="key",
    secret="key",  # noqa: S106  the name of a column
    of_user="email_address__user",
    removed=True,
)
declare("socialaccount.SocialApp", plain="provider provider_id name client_id secret key settings")
declare(
    "socialaccount.SocialAccount",
    name=gettext_lazy("Single sign-on links"),
    why=_SIGN_IN,
    until=_WITH_USER,
    erased="uid extra_data",
    plain="provider",
    of_user="user",
    removed=True,
)
declare(
    "socialaccount.SocialToken",
    name=gettext_lazy("Single sign-on tokens"),
    why=_SIGN_IN,
    until=_WITH_USER,
    plain="token token_secret",
    secret="token token_secret",  # noqa: S106  the names of columns
    of_user="account__user",
    removed=True,
)
declare(
    "access.FormerSsoLink",
    name=gettext_lazy("Former single sign-on links"),
    why=gettext_lazy("A removed link doesn't create a new team member."),
    until=_WITH_USER,
    erased="subject",
    plain="issuer",
    of_user="user",
    removed=True,
)
declare(
    "mfa.Authenticator",
    name=gettext_lazy("Second factors"),
    why=_SIGN_IN,
    until=_WITH_USER,
    erased="data",
    secret="data",  # noqa: S106  the name of a column
    of_user="user",
    removed=True,
)
declare(
    "access.User",
    name=gettext_lazy("Team members"),
    why=gettext_lazy("Signing in, and naming who did what."),
    until=gettext_lazy("As long as the installation exists, unless erased."),
    erased="email name",
    plain="password timezone locale",
    secret="password",  # noqa: S106  the name of a column
    of_user="pk",
)
declare(
    "access.CustomRole",
    name=gettext_lazy("Roles"),
    why=gettext_lazy("Names and descriptions are free text."),
    until=gettext_lazy("As long as the installation exists."),
    erased="name description",
    plain="permissions",
)
# Counters of sign-in by hashed keys, and pages' figures: gone within a day.
declare("access.CacheEntry", plain="cache_key value")


def _addresses() -> Iterable[str]:
    yield from User.objects.values_list("email", flat=True).iterator()


def _reasons(subject: Any) -> Iterable[str]:
    if subject.user is not None and subject.user.is_active:
        yield _("The team member is active. Disable them on their page first.")


holds_addresses(_addresses)
blocks_erasure(_reasons)
