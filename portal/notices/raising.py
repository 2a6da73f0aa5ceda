"""What admins are told of without looking: raised by the apps in the transaction of what happened, and sent by mail.

raised(kind, about, ...)   once; while it lasts nothing is told twice
ended(kind, about)         it is over: what was not sent yet is not sent any more
"""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from portal.notices.models import Notice


def raised(kind: str, *, about: str, title: str, text: str, path: str, now: datetime) -> None:
    """Tell the admins, unless they were told of the same and it is not over. `path` is the page that helps."""
    facts = {"title": title[:200], "text": text[:1000], "path": path}
    try:
        with transaction.atomic():
            Notice.objects.create(kind=kind, about=about[:100], raised_at=now, not_before=now, **facts)
    except IntegrityError:  # it lasts
        Notice.objects.filter(kind=kind, about=about[:100], ended_at=None).update(**facts)


def ended(kind: str, *, about: str, now: datetime) -> None:
    Notice.objects.filter(kind=kind, about=about[:100], ended_at=None).update(ended_at=now)
