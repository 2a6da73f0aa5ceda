"""Filters of finance: share of the quota, cap reached, stopped sending, and the sending limit at the present rate."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.reports.ceiling import Facts, hours_of
from billing.usage.period_ends import assess_due
from tests.billing.pooling import Pool
from tests.billing.reports.test_views import NIGHT, NOW, OCTOBER, an_account, context, listed, page, read
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


@pytest.mark.parametrize("percent", [80, 100, 200, 250])
def test_the_quota_counts_as_reached_from_its_last_email_on(finance: Client, percent: int) -> None:
    below, at = an_account(), an_account()
    read(below, percent * 1_000 - 1)
    read(at, percent * 1_000)
    assert listed(finance, quota=str(percent)) == [at.public_id]
    assert listed(finance, quota=f"may{percent}") == [], "an open figure has no upper end yet"


def test_an_interval_that_may_reach_the_quota_is_listed_apart(finance: Client) -> None:
    sure, maybe = an_account(), an_account()
    for hours in (10, 20):
        read(sure, 120_000, at=NIGHT + timedelta(hours=hours), **OCTOBER)
    read(maybe, 31_000, at=NIGHT, **OCTOBER)
    assess_due(now=NOW)
    assert listed(finance, month="2026-10", quota="100") == [sure.public_id]
    assert listed(finance, month="2026-10", quota="may100") == [maybe.public_id]
    assert listed(finance, month="2026-10", only="over") == [sure.public_id, maybe.public_id]


def test_a_cap_is_no_quota(pool: Pool, finance: Client) -> None:
    full = pool.account(5_000, settings={"monthly_cap": 5_000})
    pool.account(4_999, settings={"monthly_cap": 5_000})
    pool.account(9_000, settings={"monthly_cap": 0})
    pool.read()
    assert listed(finance, only="cap") == [full.public_id]
    assert listed(finance, quota="80") == []
    text = page(finance)
    assert 'cap</span> <span class="pk-num">5,000' in text
    assert "No cap" in text


def test_an_account_that_added_nothing_for_seven_days_stopped(finance: Client) -> None:
    stopped, sending, short, unused, silent = (an_account() for _ in range(5))
    week = NOW - timedelta(hours=2) - timedelta(days=7)  # the last reading is two hours old
    for account, before, now in ((stopped, 500, 500), (sending, 500, 501), (unused, 0, 0)):
        read(account, before, at=week)
        read(account, now)
    read(short, 500, at=week + timedelta(seconds=1))
    read(short, 500)
    read(silent, 900, at=NIGHT, **OCTOBER)
    read(silent, 0, at=week)
    read(silent, 0)
    assert listed(finance, only="stopped") == [stopped.public_id, silent.public_id]


def test_an_account_can_stop_before_its_new_period(finance: Client, time_machine: Any) -> None:
    stopped, sending = an_account(), an_account()
    for account, last in ((stopped, 500), (sending, 600)):
        read(account, 500, at=NIGHT - timedelta(days=4), **OCTOBER)
        read(account, last, at=NIGHT, **OCTOBER)
        read(account, 0, at=NIGHT + timedelta(days=4))
    time_machine.move_to(NIGHT + timedelta(days=4, hours=1), tick=False)
    client = sign_in(finance, UserFactory(role="finance"))
    assert listed(client, only="stopped") == [stopped.public_id]


def test_the_hours_to_the_ceiling_follow_the_last_three_days(finance: Client) -> None:
    """150,000 in three days, 100,000 left to 2.5 times the quota of 100,000: 48 hours, two of them passed."""
    fast, slow, full = an_account(), an_account(), an_account()
    for account, then, now in ((fast, 0, 150_000), (slow, 140_000, 150_000), (full, 100_000, 250_000)):
        read(account, then, at=NOW - timedelta(hours=2, days=3))
        read(account, now)
    report = context(finance)
    hours = {row.account: report.hours.get(row.pk) for row in report.rows}
    assert hours == {fast.public_id: 46, slow.public_id: 30 * 24 - 2, full.public_id: None}
    assert listed(finance, ceiling="24") == []
    assert listed(finance, ceiling="72") == [fast.public_id]
    assert "limit in 46 h" in " ".join(page(finance).split())
    details = finance.get(reverse("billing:figure", args=[fast.public_id, "2026-11-01"])).content.decode()
    assert "reached in 46 hours at the present rate" in details


@pytest.mark.parametrize(
    ("facts", "hours"),
    [
        ({}, 24),
        ({"before": None, "start_on": date(2026, 11, 20)}, None),  # seven hours of a period say nothing
        ({"before": None, "start_on": date(2026, 11, 18)}, 19),  # since the period began, 55 hours ago
        ({"before": 60_000}, None),
        ({"before": 70_000}, None),
        ({"used": 10**11, "ceiling": 10**15, "before": 10**11 - 1}, 277_778),
    ],
)
def test_the_rate_is_none_where_it_means_nothing(facts: dict[str, Any], hours: int | None) -> None:
    read_at = datetime(2026, 11, 20, 7, tzinfo=UTC)
    row = {"pk": 1, "start_on": date(2026, 11, 1), "read_at": read_at, "used": 60_000, "ceiling": 80_000, "before": 0}
    assert hours_of(Facts(**row | facts), now=read_at) == hours
