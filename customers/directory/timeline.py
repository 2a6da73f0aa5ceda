"""The events of a customer or an account, newest first. The audit log is the one source, notes included."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.models import Account, Customer
from portal.audit.differences import differences
from portal.audit.models import AuditEvent
from portal.audit.verbs import icon_of, sentence_of
from portal.query_params import uuid_or_none

NOTE_ADDED = "note.added"
_OPERATION = "customers.operation"
_SHOWS: dict[str, tuple[str | Promise, Q]] = {
    "all": (gettext_lazy("All"), Q()),
    "operations": (gettext_lazy("Operations"), Q(object_type=_OPERATION)),
    "audit": (gettext_lazy("Changes"), ~Q(object_type=_OPERATION) & ~Q(verb=NOTE_ADDED)),
    "notes": (gettext_lazy("Notes"), Q(verb=NOTE_ADDED)),
}
AT_ONCE = 30


@dataclass(frozen=True)
class TimelineEntry:
    at: datetime
    icon: str
    title: str
    text: str = ""
    is_note: bool = False
    operation: uuid.UUID | None = None
    code: str = ""

    @property
    def day(self) -> date:
        return timezone.localtime(self.at).date()


@dataclass(frozen=True)
class Timeline:
    show: str
    entries: list[TimelineEntry]
    # The last event shown where there are more, to continue from; "" at the end.
    older: str

    @property
    def choices(self) -> list[tuple[str, str]]:
        return [(key, str(words)) for key, (words, _which) in _SHOWS.items()]


def timeline_of_account(account: Account, *, show: str = "", before: str = "") -> Timeline:
    """Return the account's events, and its customer's notes wherever they were written."""
    notes = Q(customer_id=account.customer.public_id, verb=NOTE_ADDED)
    return _timeline(AuditEvent.objects.filter(Q(account_id=account.public_id) | notes), show, before)


def timeline_of_customer(customer: Customer, *, show: str = "", before: str = "") -> Timeline:
    """Return all events of the customer and its accounts."""
    return _timeline(AuditEvent.objects.filter(customer_id=customer.public_id), show, before)


def _timeline(events: QuerySet[AuditEvent], show: str, before: str) -> Timeline:
    show = show if show in _SHOWS else "all"
    events = events.filter(_SHOWS[show][1]).order_by("-id")
    if last := _event(before):
        events = events.filter(id__lt=last.pk)
    found = list(events[: AT_ONCE + 1])
    older = str(found[AT_ONCE - 1].public_id) if len(found) > AT_ONCE else ""
    return Timeline(show, [_entry(event) for event in found[:AT_ONCE]], older)


def _event(public_id: str) -> AuditEvent | None:
    wanted = uuid_or_none(public_id)
    return AuditEvent.objects.filter(public_id=wanted).first() if wanted else None


def _entry(event: AuditEvent) -> TimelineEntry:
    who = event.actor_label or _("The portal")
    if event.verb == NOTE_ADDED:
        title = _("Note by %(name)s") % {"name": who}
        return TimelineEntry(event.at, icon_of(event.verb), title, str(event.after.get("text", "")), is_note=True)
    of_operation = event.object_type == _OPERATION
    return TimelineEntry(
        event.at,
        icon_of(event.verb),
        sentence_of(event.verb, event.actor_label),
        event.reason or ("" if of_operation else _changes(event)),
        operation=event.object_id if of_operation else None,
        code=event.object_label.partition(" ")[0] if of_operation else "",
    )


def _changes(event: AuditEvent) -> str:
    """Return the changes of an edit. The values at a creation are on the page already."""
    if not event.before:
        return ""
    nothing = "—"
    return "; ".join(f"{each.label}: {each.before or nothing} → {each.after or nothing}" for each in differences(event))
