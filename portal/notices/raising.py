"""Notices to admins or to one person, raised in the transaction of their cause, and sent by mail.

raised(kind, about, ...)   raises once; no second notice while it is active
ended(kind, about)         ends it; mail that was not sent yet is dropped
all_ended(kind, prefix)    ends those to several persons about one subject
of_event(event)            of an audit event whose verb alerts: mailed once, and over
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.audit.verbs import VERBS
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


def all_ended(kind: str, *, prefix: str, now: datetime) -> None:
    Notice.objects.filter(kind=kind, about__startswith=prefix, ended_at=None).update(ended_at=now)


def of_event(sender: object, *, event: AuditEvent, **_signal: Any) -> None:
    """Mail an event to all admins, in the transaction that records it. It is about what happened, not about a state, so
    it ends once it was mailed (`Notice.is_of_event`)."""
    label = str(VERBS[event.verb].label)
    said = [
        event.object_label,
        _("By: %(who)s") % {"who": event.actor_label or _("Postkeeper")},
        _("Reason: %(why)s") % {"why": event.reason} if event.reason else "",
        _("Address: %(ip)s") % {"ip": event.ip} if event.ip else "",
    ]
    raised(
        f"{Notice.EVENT}{event.verb}"[:40],
        about=str(event.pk),
        title=label,
        text="\n".join([f"{label}.", *filter(None, said)]),
        path=f"{reverse('audit:list')}?verb={event.verb}",
        now=event.at,
    )
