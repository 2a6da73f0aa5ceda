"""The demo's three months, on whatever day they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from portal.demo.companies import companies
from portal.demo.script import Story

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
