"""The events of a customer or an account, newest first. The audit log is the one source, notes included."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
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
from portal.audit.verbs import icon_of, title_with_actor
from portal.filters import Filter, ListFilters, one_of
from portal.query_params import uuid_or_none

NOTE_ADDED = "note.added"
_OPERATION = "customers.operation"
_SHOWS: dict[str, tuple[str | Promise, Q]] = {
    "all": (gettext_lazy("All"), Q()),
    "operations": (gettext_lazy("Operations"), Q(object_type=_OPERATION)),
    "audit": (gettext_lazy("Changes"), ~Q(object_type=_OPERATION) & ~Q(verb=NOTE_ADDED)),
    "notes": (gettext_lazy("Notes"), Q(verb=NOTE_ADDED)),
}
_OF_DELETE: dict[str, str | Promise] = {
    "bulk.submitted": gettext_lazy("Account deletion submitted for approval"),
    "bulk.approved": gettext_lazy("Account deletion approved"),
    "bulk.refused": gettext_lazy("Account deletion rejected"),
    "bulk.cancelled": gettext_lazy("Account deletion request canceled"),
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


class TimelineFilters(ListFilters):
    """Filters of the timeline: the kind of events, and the event (`before`) that older ones follow."""

    show = Filter(gettext_lazy("Show"), one_of(_SHOWS), initial="all")
    before = Filter(gettext_lazy("Older than"), uuid_or_none)


@dataclass(frozen=True)
class Timeline:
    filters: TimelineFilters
    entries: list[TimelineEntry]
    # The last event shown where there are more, to continue from; "" at the end.
    older: str

    @property
    def show(self) -> str:
        return str(self.filters.show)

    @property
    def choices(self) -> list[tuple[str, str]]:
        return [(key, str(words)) for key, (words, _which) in _SHOWS.items()]


def timeline_of_account(account: Account, *, asked: Mapping[str, str]) -> Timeline:
    """Return the account's events, and its customer's notes wherever they were written."""
    notes = Q(customer_id=account.customer.public_id, verb=NOTE_ADDED)
    return _timeline(AuditEvent.objects.filter(Q(account_id=account.public_id) | notes), asked)


def timeline_of_customer(customer: Customer, *, asked: Mapping[str, str]) -> Timeline:
    """Return all events of the customer and its accounts."""
    return _timeline(AuditEvent.objects.filter(customer_id=customer.public_id), asked)


def _timeline(events: QuerySet[AuditEvent], asked: Mapping[str, str]) -> Timeline:
    filters = TimelineFilters(asked)
    if filters.before and not events.filter(public_id=filters.before).exists():
        filters.refuse("before")
    events = filters.narrow(events).filter(_SHOWS[filters.show][1]).order_by("-id")
    if filters.before:
        events = events.filter(id__lt=AuditEvent.objects.filter(public_id=filters.before).values("id"))
    found = list(events[: AT_ONCE + 1])
    older = str(found[AT_ONCE - 1].public_id) if len(found) > AT_ONCE else ""
    return Timeline(filters, [_entry(event) for event in found[:AT_ONCE]], older)


def _entry(event: AuditEvent) -> TimelineEntry:
    who = event.actor_label or _("The portal")
    if event.verb == NOTE_ADDED:
        title = _("Note by %(name)s") % {"name": who}
        return TimelineEntry(event.at, icon_of(event.verb), title, str(event.after.get("text", "")), is_note=True)
    of_operation = event.object_type == _OPERATION
    return TimelineEntry(
        event.at,
        icon_of(event.verb),
        title_with_actor(event.verb, event.actor_label, title=str(_OF_DELETE.get(event.verb, ""))),
        event.reason or ("" if of_operation else _changes(event)),
        operation=event.object_id if of_operation else None,
        code=event.object_label.partition(" ")[0] if of_operation else "",
    )


# Their values are for readers of the audit log.
_MAY_HOLD_COST = frozenset({"usage.decided"})


def _changes(event: AuditEvent) -> str:
    """Return the changes of an edit. The values at a creation are on the page already."""
    if not event.before or event.verb in _MAY_HOLD_COST:
        return ""
    nothing = "—"
    return "; ".join(f"{each.label}: {each.before or nothing} → {each.after or nothing}" for each in differences(event))
