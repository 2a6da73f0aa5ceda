"""Requests by calendar month: beside the billing periods, explained, and never in a billed figure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import StatisticsReading, UsagePeriod
from billing.usage.period_ends import assess_due
from customers.models import Account
from tests.billing.reports.test_views import NOW, an_account, context, read
from tests.customers.page_helpers import prose_of
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


def count(account: Account, first: date, requests: list[int], *, at: datetime = NOW) -> None:
    days = {(first + timedelta(days=n)).isoformat(): each for n, each in enumerate(requests)}
    last = first + timedelta(days=len(requests) - 1)
    StatisticsReading.objects.create(account=account, as_of=at, first_on=first, last_on=last, days=days)


def rows(client: Client, **query: str) -> Any:
    return client.get(reverse("billing:usage-calendar"), {"month": "2026-10"} | query).context["page"].object_list


def an_account_of_mid_month() -> Account:
    account = an_account()
    mid = {"start": date(2026, 9, 15), "end": date(2026, 10, 14)}
    read(account, 9_000, at=datetime(2026, 10, 14, 23, tzinfo=UTC), **mid)
    read(account, 4_000, start=date(2026, 10, 15), end=date(2026, 11, 14), at=datetime(2026, 10, 31, tzinfo=UTC))
    return account


def test_requests_stand_beside_the_periods_of_the_month(finance: Client) -> None:
    account = an_account_of_mid_month()
    count(account, date(2026, 9, 29), [1_000_000, 1_000_000, *[100] * 31, 7_000_000])
    assess_due(now=NOW)
    (row,) = rows(finance)
    assert (row.requests, row.unknown) == (3_100, 0)
    assert [(each.period.used, each.days, each.of) for each in row.overlaps] == [(9_000, 14, 30), (4_000, 17, 31)]
    assert (row.least, row.difference) == (13_000, 9_900)
    assert (row.most, row.most_difference) == (500_000, 496_900)
    text = prose_of(finance.get(reverse("billing:usage-calendar"), {"month": "2026-10"}))
    assert "15 Sep \u2013 14 Oct: 14 of 30 days in this month" in text
    assert "+9,900 to +496,900" in text
    assert "emails after the last update are unknown" in text
    assert "Not billed." in text


def test_the_last_reading_of_a_day_counts(finance: Client) -> None:
    account = an_account_of_mid_month()
    count(account, date(2026, 10, 1), [100] * 31, at=NOW - timedelta(days=2))
    count(account, date(2026, 10, 30), [150, 0], at=NOW - timedelta(days=1))
    assert rows(finance)[0].requests == 29 * 100 + 150


def test_days_without_statistics_are_said_and_are_no_zeros(finance: Client) -> None:
    counted, silent = an_account_of_mid_month(), an_account_of_mid_month()
    count(counted, date(2026, 10, 1), [100] * 28)
    found = {row.customer: (row.requests, row.unknown, row.difference) for row in rows(finance)}
    assert found == {counted.customer: (2_800, 3, 10_200), silent.customer: (None, 31, None)}
    text = prose_of(finance.get(reverse("billing:usage-calendar"), {"month": "2026-10"}))
    assert "no statistics for 3 days" in text


def test_a_month_without_statistics_is_empty(finance: Client) -> None:
    count(an_account_of_mid_month(), date(2026, 10, 1), [100])
    answer = finance.get(reverse("billing:usage-calendar"), {"month": "2026-09"})
    assert "No statistics for this month" in answer.content.decode()
    assert finance.get(reverse("billing:usage-calendar"), {"month": "2026-13"}).status_code == 400


def test_statistics_are_in_no_billed_figure(finance: Client) -> None:
    account = an_account_of_mid_month()
    before = context(finance, month="2026-10")
    count(account, date(2026, 10, 1), [77_777] * 31)
    after = context(finance, month="2026-10")
    assert (after.totals, after.rows) == (before.totals, before.rows)
    assert UsagePeriod.objects.get(account=account, start_on=date(2026, 9, 15)).used == 9_000


def test_customers_are_found_and_paged(finance: Client) -> None:
    first, second = an_account_of_mid_month(), an_account_of_mid_month()
    count(first, date(2026, 10, 1), [1])
    assert [row.customer for row in rows(finance, q=second.customer.company_name)] == [second.customer]
    assert [row.customer for row in rows(finance, connection=str(first.connection.public_id))] == [first.customer]
    assert (
        "<html"
        not in finance.get(
            reverse("billing:usage-calendar"), {"month": "2026-10"}, headers={"HX-Request": "true"}
        ).content.decode()
    )


@pytest.mark.long
def test_the_page_costs_the_same_for_few_and_for_many(finance: Client, django_assert_max_num_queries: Any) -> None:
    def add(number: int) -> None:
        for _ in range(number):
            count(an_account_of_mid_month(), date(2026, 10, 1), [5] * 31)

    def cost() -> int:
        with django_assert_max_num_queries(30) as counted:
            assert rows(finance, size="200")
        return len(counted.captured_queries)

    add(2)
    cost()
    few = cost()
    add(20)
    assert cost() == few
