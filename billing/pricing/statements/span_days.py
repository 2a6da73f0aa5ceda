"""Spans of an account as days of a billing zone: what was in force from which day on.

The day of a change belongs to the new value, and the last change of a day decides that day. A change that lies between
two readings of different days counts from the day of the reading that showed it, and is marked with the earliest day it
may have come on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from billing.pricing.rating.case import HeldItem, OfferingSpan, StateSpan
from customers.models import AccountSpan
from customers.models.account import AccountState

FIRST_DAY = date(2000, 1, 1)
Kind, Source = AccountSpan.Kind, AccountSpan.Source


class SpanRow(NamedTuple):
    """The columns of an `AccountSpan` that decide days, in the order of `SPAN_COLUMNS`."""

    account: int
    kind: str
    value: Any
    from_at: datetime | None
    seen_at: datetime
    source: str


SPAN_COLUMNS = ("account", "kind", "value", "from_at", "seen_at", "source")


class ValueChange(NamedTuple):
    """A value from a day on. `since`: the earliest day it may have come on, if that is another one."""

    on: date
    value: Any
    since: date | None


@lru_cache(maxsize=64)
def billing_zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def day_in(moment: datetime, zone: tzinfo) -> date:
    return moment.date() if zone is UTC else moment.astimezone(zone).date()


def changes_of(rows: Iterable[SpanRow], zone: tzinfo) -> list[ValueChange]:
    """Return the values of one account and kind by day, oldest first. `rows` are in the order of their writing.

    The first value of an account counts from the day on which an operation made it or the provider's list says it was
    made, otherwise from the beginning: nothing else is known of the time before.
    """
    found: list[ValueChange] = []
    for row in rows:
        on = day_in(row.seen_at, zone)
        since = day_in(row.from_at, zone) if row.from_at else None
        if not found:
            found.append(_first(row, on, since))
            continue
        on = max(on, found[-1].on)  # a clock may be set back: what was written later came later
        if found[-1].on == on:
            earlier = found.pop()
            since = min(filter(None, (since, earlier.since)), default=None)
        found.append(ValueChange(on, row.value, since if since and since < on else None))
    return found


def _first(row: SpanRow, on: date, since: date | None) -> ValueChange:
    if row.source == Source.OPERATION:
        return ValueChange(on, row.value, since if since and since < on else None)
    return ValueChange((since or FIRST_DAY) if row.source == Source.LINKED else FIRST_DAY, row.value, None)


def offering_spans(changes: Sequence[ValueChange]) -> tuple[OfferingSpan, ...]:
    return tuple(OfferingSpan(each.on, _items(each.value), each.since) for each in changes)


def state_spans(changes: Sequence[ValueChange]) -> tuple[StateSpan, ...]:
    return tuple(StateSpan(each.on, str(each.value)) for each in changes)


def deleted_on(changes: Sequence[ValueChange]) -> date | None:
    """Return the day of the deletion that still holds."""
    if not changes or changes[-1].value != AccountState.DELETED:
        return None
    return changes[-1].on


def _items(value: Any) -> tuple[HeldItem, ...]:
    if not value:
        return ()
    if len(value) == 1:
        return (HeldItem(str(value[0]["name"]), int(value[0].get("quantity", 1))),)
    held: dict[str, int] = {}
    for row in value:
        held[str(row["name"])] = held.get(str(row["name"]), 0) + int(row.get("quantity", 1))
    return tuple(HeldItem(name, quantity) for name, quantity in held.items())
