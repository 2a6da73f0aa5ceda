"""Notices to admins or to one person, raised in the transaction of their cause, and sent by mail.

raised(kind, about, ...)   raises once; no second notice while it is active
ended(kind, about)         ends it; mail that was not sent yet is dropped
"""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from portal.access.models import User
from portal.notices.models import Notice


def raised(kind: str, *, about: str, title: str, text: str, path: str, now: datetime, to: User | None = None) -> None:
    """Raise a notice, or update the active one of the same kind and subject. `path` is the page that helps, `to` the
    person it is for instead of all admins."""
    facts = {"title": title[:200], "text": text[:1000], "path": path, "to": to}
    try:
        with transaction.atomic():
            Notice.objects.create(kind=kind, about=about[:100], raised_at=now, not_before=now, **facts)
    except IntegrityError:  # it is active
        Notice.objects.filter(kind=kind, about=about[:100], ended_at=None).update(**facts)


def ended(kind: str, *, about: str, now: datetime) -> None:
    Notice.objects.filter(kind=kind, about=about[:100], ended_at=None).update(ended_at=now)
