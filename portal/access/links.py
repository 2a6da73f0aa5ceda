"""One-time links for setting a password: invitation, reset by an admin, "forgot my password".

The link is signed and contains the user, its expiry, and a fingerprint of the current password, email and session
epoch. Setting a password changes the fingerprint, so a link works once; a reset by an admin raises the epoch, which
invalidates older links. Nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
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


@dataclass(frozen=True, slots=True)
class Link:
    """One-time URL, and when it expires."""

    url: str
    expires_at: datetime


def make_link(*, person: User, lasts: timedelta, now: datetime, request: HttpRequest | None) -> Link:
    """Return a link at the request's host; without a request (on the command line) at PORTAL_URL."""
    expires_at = now + lasts
    token = signing.dumps(
        {"who": person.public_id.hex, "until": int(expires_at.timestamp()), "print": _fingerprint(person)}, salt=_SALT
    )
    path = reverse("accept-invitation", args=[token])
    return Link(request.build_absolute_uri(path) if request else settings.PORTAL_URL + path, expires_at)


def person_of(token: str, *, now: datetime) -> User | None:
    """Return the user of the link; None if it was altered, has expired, was used, or the user is disabled."""
    try:
        held = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        return None
    if held["until"] < now.timestamp():
        return None
    person = User.objects.filter(public_id=UUID(held["who"]), is_active=True).first()
    return person if person and constant_time_compare(held["print"], _fingerprint(person)) else None


def _fingerprint(person: User) -> str:
    kept = f"{person.password}|{person.email}|{person.session_epoch}"
    return salted_hmac(_SALT, kept, algorithm="sha256").hexdigest()
