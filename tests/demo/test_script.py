"""The demo's three months, on whatever day they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from portal.demo.companies import companies
from portal.demo.script import Story
from portal.demo.usage_nights import comparisons, nights

# Two years and a day, one of them a leap year; the hour moves through the day too.
ENDS = [datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=days, hours=days % 24) for days in range(732)]


def _story(today: datetime) -> Story:
    return Story(cast("Any", SimpleNamespace(today=today)), cast("Any", None), cast("Any", None))


def test_the_connections_are_made_before_all_else_on_every_day() -> None:
    for today in ENDS:
        story = _story(today)
        _, first = min(story.moments(), key=lambda moment: moment[0])
        assert first == story.connect, today


def test_nothing_befalls_a_customer_before_its_account_is_opened() -> None:
    for today in ENDS:
        story = _story(today)
        for company in companies():
            opened = story._birth(company)
            fate = list(story.fate_of(company))
            early = [at for at, _ in fate if not opened < at < today]
            assert not early, (today, company.name, company.fate, opened, early)


def test_comparisons_are_in_order_and_none_lies_ahead_on_any_day() -> None:
    for today in ENDS:
        found = list(comparisons(today, frozenset({"UTC", "Asia/Kolkata", "America/Los_Angeles"})))
        assert found == sorted(found)
        assert found[-1].astimezone(UTC) < today + timedelta(days=1), today
        assert {(today.replace(day=1) - timedelta(days=back)).date() for back in range(1, 8)} <= {
            at.astimezone(UTC).date() for at in found
        }, "a week before the last month's end"


def test_each_day_is_compared_at_midnight_of_each_zone() -> None:
    zones = frozenset({"UTC", "America/New_York"})
    found = list(comparisons(datetime(2027, 1, 5, 18, tzinfo=UTC), zones))
    assert found == sorted(found)
    day = [at.astimezone(UTC) for at in found if at.astimezone(UTC).day == 4 and at.month == 1]
    assert [at.hour for at in day] == [0, 5, 12]


def test_no_night_lies_ahead_on_any_day() -> None:
    for today in ENDS:
        assert all(at < today for at, _ends in nights(today - timedelta(days=94), today)), today
