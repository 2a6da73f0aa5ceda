"""One-time links: for setting a password, or for connecting single sign-on.

The link is signed and contains the user, its kind and expiry, and a fingerprint of the current password, email and
session epoch. Setting a password changes the fingerprint, so a link works once; a reset by an admin raises the epoch,
which invalidates older links. Nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

from portal.access.models import User

BY_ADMIN = timedelta(days=7)
FORGOT = timedelta(hours=1)
_SALT = "portal.access.links"


class LinkKind(StrEnum):
    """Which ways in a link opens. INVITE: a password, or single sign-on. RESET: a password alone. RECONNECT: single
    sign-on alone."""

    INVITE = "invite"
    RESET = "reset"
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True)
class Link:
    """One-time URL, and when it expires."""

    url: str
    expires_at: datetime
    kind: LinkKind


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A valid link that somebody opened."""

    person: User
    kind: LinkKind


def make_link(
    *, person: User, lasts: timedelta, now: datetime, request: HttpRequest | None, kind: LinkKind = LinkKind.RESET
) -> Link:
    """Return a link at the request's host; without a request (on the command line) at PORTAL_URL."""
    expires_at = now + lasts
    held = {"who": person.public_id.hex, "until": int(expires_at.timestamp()), "print": _fingerprint(person)}
    path = reverse("accept-invitation", args=[signing.dumps(held | {"kind": kind}, salt=_SALT)])
    return Link(request.build_absolute_uri(path) if request else settings.PORTAL_URL + path, expires_at, kind)


def person_of(token: str, *, now: datetime) -> User | None:
    """Return the user of the link, see `open_link`."""
    opened = open_link(token, now=now)
    return opened.person if opened else None


def open_link(token: str, *, now: datetime) -> OpenedLink | None:
    """Return the user and kind; None if the link was altered, has expired, was used, or the user is disabled. A link of
    an earlier release says no kind: it resets a password."""
    try:
        held = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        return None
    if held["until"] < now.timestamp():
        return None
    person = User.objects.filter(public_id=UUID(held["who"]), is_active=True).first()
    if person is None or not constant_time_compare(held["print"], _fingerprint(person)):
        return None
    return OpenedLink(person, LinkKind(held.get("kind", LinkKind.RESET)))


def _fingerprint(person: User) -> str:
    kept = f"{person.password}|{person.email}|{person.session_epoch}"
    return salted_hmac(_SALT, kept, algorithm="sha256").hexdigest()
