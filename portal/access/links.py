"""One-time links for setting a password: invitation, reset by an admin, "forgot my password".

The link is signed and contains the user, its expiry, and a fingerprint of the current password, email and session
epoch. Setting a password changes the fingerprint, so a link works once; a reset by an admin raises the epoch, which
invalidates older links. Nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.core import signing
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

from portal import audit
from portal.access.models import User

BY_ADMIN = timedelta(days=7)
FORGOT = timedelta(hours=1)
_SALT = "portal.access.links"


@dataclass(frozen=True, slots=True)
class Link:
    """One-time URL, and when it expires."""

    url: str
    expires_at: datetime


def make_link(*, person: User, lasts: timedelta, now: datetime, request: HttpRequest) -> Link:
    expires_at = now + lasts
    token = signing.dumps(
        {"who": person.public_id.hex, "until": int(expires_at.timestamp()), "print": _fingerprint(person)}, salt=_SALT
    )
    return Link(request.build_absolute_uri(reverse("accept-invitation", args=[token])), expires_at)


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


def set_password_by_link(*, person: User, password: str, request: HttpRequest) -> bool:
    """Set the password of the user returned by `person_of`. Return False if the link was used meanwhile."""
    with transaction.atomic():
        changed = User.objects.filter(
            pk=person.pk, password=person.password, session_epoch=person.session_epoch, is_active=True
        ).update(password=make_password(password), session_epoch=F("session_epoch") + 1)
        if changed:
            audit.record(actor=person, verb="staff.password_changed", obj=person, request=request)
    return bool(changed)


def _fingerprint(person: User) -> str:
    kept = f"{person.password}|{person.email}|{person.session_epoch}"
    return salted_hmac(_SALT, kept, algorithm="sha256").hexdigest()
