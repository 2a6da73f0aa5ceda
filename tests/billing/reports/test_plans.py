"""The statements behind the report use the indexes that were made for them, and read nothing twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import NOT_OVER, UsagePeriod
from billing.reports import conditions
from billing.reports.as_of import FiguresAsOf
from billing.reports.changes import ChangesQuery, changes_between
from billing.reports.filters import UsageFilters
from billing.reports.queries import figures_of_month, report_periods
from billing.usage.exported import mark_exported
from billing.usage.ledger import last_batch
from billing.worklist.queries import open_figures
from tests.billing.exports.support import IN_MONTH, MONTH, NOW, a_customer_account, read_over, read_usage
from tests.support.factories import CustomerFactory
from tests.support.work import plan_of

pytestmark = pytest.mark.django_db
# The index of readings, used from its first column on: as PostgreSQL says it, and SQLite.
LOOK_UP = re.compile(r"usage_snapshot_of_period( on .*\n *Index Cond: \(| )\(*period_start_on ?=")


def filtered(**query: str) -> UsageFilters:
    return UsageFilters({"month": "2026-10", **query}, today=NOW.date())


def statements(call: Callable[[], Any], text: str) -> list[str]:
    """Return the statements of a call that contain a text."""
    with CaptureQueriesContext(connection) as run:
        call()
    return [each["sql"] for each in run.captured_queries if text in each["sql"]]


@pytest.mark.both
def test_an_earlier_reading_is_found_in_the_index() -> None:
    account = a_customer_account()
    for step in range(5):
        read_usage(account, 1_000 + step, at=IN_MONTH + timedelta(hours=step))
    since = last_batch() - 3
    (found,) = statements(lambda: FiguresAsOf(MONTH, since).totals(with_cost=True), "WITH")
    assert LOOK_UP.search(plan_of(found))
    query = ChangesQuery(MONTH, since, last_batch())
    (found,) = statements(lambda: changes_between(query), "WITH")
    assert LOOK_UP.search(plan_of(found))


@pytest.mark.both
def test_a_page_of_changes_is_a_part_of_all() -> None:
    for n in range(7):
        account = a_customer_account()
        read_usage(account, 1_000, at=IN_MONTH)
        (read_over if n % 2 else read_usage)(account, 1_500 + n, **({} if n % 2 else {"at": IN_MONTH}))
    since = last_batch()
    for n, period in enumerate(UsagePeriod.objects.order_by("pk")):
        read_usage(period.account, 2_000 + n * 100, at=NOW)
    for settled in (False, True):
        query = ChangesQuery(MONTH, since, last_batch(), only_settled=settled)
        found = changes_between(query)
        assert len(found.rows) == (found.settled if settled else found.count)
        for part in (slice(0, 3), slice(3, 6), slice(6, 9)):
            assert changes_between(query, part=part).rows == found.rows[part]
        assert not any(row.was_open for row in found.rows) or not settled


@pytest.mark.both
def test_the_first_export_is_no_change_of_open_figures() -> None:
    periods = [read_usage(a_customer_account(), n, at=IN_MONTH) for n in (10, 20, 30)]
    before = last_batch()
    was = [row.values for row in FiguresAsOf(MONTH, before).lines()]
    totals = FiguresAsOf(MONTH, before).totals(with_cost=True)
    mark_exported([periods[1].pk], now=NOW)
    figures = FiguresAsOf(MONTH, before, part=slice(1, 3))
    assert figures.totals(with_cost=True) == totals
    assert [row.values for row in figures[1:3]] == was[1:3]
    assert [row.values for row in figures.lines()] == was


@pytest.mark.both
def test_figures_to_assess_and_to_decide_have_an_index() -> None:
    read_over(a_customer_account(), 90_000)
    due = UsagePeriod.objects.filter(status__in=NOT_OVER, ends_at__lte=NOW).order_by()
    (found,) = statements(lambda: list(due), "ends_at")
    assert "usage_period_to_assess" in plan_of(found)
    (found,) = statements(lambda: list(open_figures(NOW).order_by()[:100]), "ends_at")
    assert "usage_period_to_decide" in plan_of(found)


def test_the_report_does_not_join_accounts_for_duplicates() -> None:
    (found,) = statements(lambda: list(figures_of_month(filtered()).values("pk").order_by()), "usageperiod")
    assert "JOIN" not in found


@pytest.mark.both
@pytest.mark.parametrize("many", [0, 1000])
def test_a_search_finds_the_same_of_few_and_of_many(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "MANY", many)
    for name in ("Birch", "Birches", "Cedar"):
        account = a_customer_account(customer=CustomerFactory(company_name=name), provider_id=f"sg-{name.lower()}-1")
        read_usage(account, 1_000, at=IN_MONTH)
    for text, expected in (("birch", 2), ("cedar", 1), ("sg-ce", 1), ("nothing", 0)):
        assert report_periods(filtered(q=text)).count() == expected, text


def test_readings_of_stopped_accounts_are_looked_up_once() -> None:
    account = a_customer_account()
    for days in (0, 8):
        read_usage(account, 500, at=IN_MONTH + timedelta(days=days))

    def shown() -> None:
        found = report_periods(filtered(only="stopped"))
        assert list(found) == list(found.order_by("pk")) == [UsagePeriod.objects.get()]

    assert len(statements(shown, "EXISTS")) == 1
