"""Spans as days: which value is in force from which day on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing.pricing.statements.span_days import FIRST_DAY, SpanRow, ValueChange, changes_of, deleted_on, offering_spans


def row(seen: str, value: Any, *, since: str | None = None, source: str = "operation") -> SpanRow:
    moments = [datetime.fromisoformat(each).replace(tzinfo=UTC) if each else None for each in (since or seen, seen)]
    assert moments[1] is not None
    return SpanRow(1, "state", value, moments[0], moments[1], source)


def days(*rows: SpanRow, zone: Any = UTC) -> list[tuple[date, Any, date | None]]:
    return [tuple(each) for each in changes_of(rows, zone)]


def test_the_last_change_of_a_day_keeps_the_doubt_of_the_first() -> None:
    first = row("2026-10-01T12:00", "a", source="stored")
    doubtful = row("2026-11-16T08:00", "b", since="2026-11-14T08:00", source="reading")
    assert days(first, doubtful, row("2026-11-16T09:00", "c")) == [
        (FIRST_DAY, "a", None),
        (date(2026, 11, 16), "c", date(2026, 11, 14)),
    ]


def test_a_clock_that_was_set_back_keeps_the_order() -> None:
    found = days(row("2026-11-16T08:00", "a"), row("2026-11-15T08:00", "b"))
    assert found == [(date(2026, 11, 16), "b", date(2026, 11, 15))]


def test_days_are_those_of_the_zone() -> None:
    rows = row("2026-10-01T12:00", "a"), row("2026-11-15T16:00", "b")
    assert days(*rows, zone=ZoneInfo("Asia/Tokyo"))[1][0] == date(2026, 11, 16)
    assert days(*rows, zone=ZoneInfo("America/New_York"))[1][0] == date(2026, 11, 15)


@pytest.mark.parametrize(
    ("source", "since", "begins"),
    [
        ("operation", "2026-11-16T08:00", date(2026, 11, 16)),
        ("linked", "2026-10-02T08:00", date(2026, 10, 2)),
        ("stored", "2026-10-02T08:00", FIRST_DAY),
        ("reading", "2026-10-02T08:00", FIRST_DAY),
    ],
)
def test_the_first_value_counts_from_what_is_known(source: str, since: str, begins: date) -> None:
    assert days(row("2026-11-16T08:00", "a", since=since, source=source))[0][0] == begins


def test_a_deletion_that_was_taken_back_is_none() -> None:
    changes = [ValueChange(date(2026, 11, 2), "deleted", None), ValueChange(date(2026, 11, 5), "active", None)]
    assert deleted_on(changes[:1]) == date(2026, 11, 2)
    assert deleted_on(changes) is None


def test_one_offering_listed_twice_is_held_twice() -> None:
    value = [{"name": "a", "quantity": 1}, {"name": "b", "quantity": 2}, {"name": "a", "quantity": 3}]
    (span,) = offering_spans([ValueChange(FIRST_DAY, value, None)])
    assert [(item.name, item.quantity) for item in span.items] == [("a", 4), ("b", 2)]
