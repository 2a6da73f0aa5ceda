"""Billing periods whose dates a person decided on, or that the provider moved."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from billing.models import UsagePeriod
from billing.reports.account_usage import usage_of_account
from billing.reports.as_of import FiguresAsOf
from billing.reports.export_changes import changed_figures
from billing.reports.exports import request_export
from billing.reports.filters import UsageFilters
from billing.usage.decisions import undo_decision
from billing.usage.ledger import last_batch
from customers.models import Account
from portal.refusals import Refusal
from tests.billing.worklist.support import (
    START,
    at,
    command,
    decide,
    figure,
    let_time_pass,
    october,
    open_anomalies,
    read,
)
from tests.support.factories import UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sums_are_right")]
RESTARTED = {"period_start_on": date(2026, 10, 15), "period_end_on": date(2026, 11, 14)}


def split(account: Account) -> Any:
    """A decrease on 15 October that a person decided to be a new period."""
    read(account, 100_000, at(10))
    read(account, 20_000, at(15))
    return decide(account, "new_period", at(15, 12))


def periods() -> list[tuple[date, date, int | None]]:
    return list(UsagePeriod.objects.order_by("start_on").values_list("start_on", "end_on", "used"))


def charted(account: Account, *, at: datetime) -> list[int]:
    cycle = usage_of_account(account, now=at).cycle
    return [point.used for point in cycle.points] if cycle else []


def test_the_provider_shows_the_dates_of_a_split_part_later(account: Account) -> None:
    split(account)
    read(account, 25_000, at(16), **RESTARTED)
    read(account, 30_000, at(17), **RESTARTED)
    assert periods() == [
        (START, date(2026, 10, 14), 100_000),
        (date(2026, 10, 15), date(2026, 11, 14), 30_000),
    ]
    assert charted(account, at=at(18)) == [20_000, 25_000, 30_000]


def test_the_provider_shows_the_dates_of_a_joined_part(account: Account) -> None:
    undo_decision(command(at(15, 13)), anomaly=split(account))
    decide(account, "wrong", at(15, 14))
    read(account, 25_000, at(16), **RESTARTED)
    assert periods() == [
        (START, date(2026, 10, 14), 100_000),
        (date(2026, 10, 15), date(2026, 11, 14), 25_000),
    ]


def test_a_split_that_is_undone_stays_in_earlier_figures(account: Account) -> None:
    anomaly = split(account)
    read(account, 22_000, at(15, 13))
    batch = last_batch()
    before = [row.values for row in FiguresAsOf(START, batch).lines()]
    undo_decision(command(at(15, 14)), anomaly=anomaly)
    assert len(before) == 2
    assert [row.values for row in FiguresAsOf(START, batch).lines()] == before


def test_a_wrong_long_end_leaves_the_end_as_reported(account: Account) -> None:
    """The anchor is the 31st: the period begins on the last day of September."""
    anchored = {"period_start_on": date(2026, 9, 30), "period_end_on": date(2026, 10, 30)}
    read(account, 10, at(5), **anchored)
    read(account, 11, at(6), **anchored | {"period_end_on": date(2026, 11, 20)})
    decide(account, "wrong", at(6, 12))
    assert periods() == [(date(2026, 9, 30), date(2026, 10, 30), 10)]


def test_an_end_that_moves_is_not_passed_yet(account: Account) -> None:
    read(account, 100_000, at(30, 9), period_end_on=date(2026, 10, 28))
    read(account, 100_000, at(31, 1))
    read(account, 100_000, at(31, 12))
    let_time_pass(datetime(2026, 11, 1, 12, tzinfo=UTC))
    assert figure(account) == ("interval", 100_000, 250_000)


def test_a_long_period_that_counts_is_not_passed_yet(account: Account) -> None:
    read(account, 100_000, at(30, 9), period_end_on=date(2026, 10, 28))
    read(account, 100_000, at(30, 10), period_end_on=date(2026, 11, 10))
    decide(account, "counted", at(30, 12))
    read(account, 100_000, at(30, 20), period_end_on=date(2026, 11, 10))
    let_time_pass(datetime(2026, 11, 12, tzinfo=UTC))
    assert october(account).status == "interval"


@pytest.mark.parametrize(("verdict", "shown"), [("counted", [100_000, 300_000]), ("wrong", [100_000])])
def test_the_chart_has_the_readings_that_count(account: Account, verdict: str, shown: list[int]) -> None:
    read(account, 100_000, at(5))
    read(account, 300_000, at(6))
    decide(account, verdict, at(6, 12))
    assert charted(account, at=at(6, 13)) == shown


def test_the_chart_leaves_out_a_wrong_decrease(account: Account) -> None:
    for day, used in ((5, 100_000), (6, 300), (7, 110_000)):
        read(account, used, at(day))
    decide(account, "wrong", at(7, 12))
    assert charted(account, at=at(7, 13)) == [100_000, 110_000]


def test_a_split_that_the_provider_shows_stays(account: Account) -> None:
    anomaly = split(account)
    read(account, 25_000, at(16), **RESTARTED)
    with pytest.raises(Refusal, match="can't be undone"):
        undo_decision(command(at(16, 12)), anomaly=anomaly)
    assert [used for _, _, used in periods()] == [100_000, 25_000]


def test_a_period_that_overlaps_a_later_one_does_not_count(account: Account) -> None:
    """The provider goes back: to a period that begins before the one it showed. Its emails would count twice."""
    before = {"period_start_on": date(2026, 9, 30), "period_end_on": date(2026, 10, 30)}
    read(account, 50_000, at(10))
    for day, used in ((11, 60_000), (12, 61_000)):
        read(account, used, at(day), **before)
    early = UsagePeriod.objects.get(start_on=date(2026, 9, 30))
    assert (early.status, early.used, early.high) == ("disputed", 0, 61_000)
    values = [(each.kind, each.before, each.after) for each in open_anomalies(account)]
    assert values == [("contradiction", "2026-10-01 to 2026-10-31", "2026-09-30 to 2026-10-30")] * 2


def test_an_ended_period_that_lingers_overlaps_nothing(account: Account) -> None:
    read(account, 50_000, at(10))
    read(account, 10, at(15), **RESTARTED)
    read(account, 50_500, at(15, 4))
    read(account, 10, at(15, 5), **RESTARTED)
    read(account, 50_400, at(14))
    assert [each.kind for each in open_anomalies(account)] == []
    assert [used for _, _, used in periods()] == [50_500, 10]


def test_a_part_that_is_joined_again_changed_an_export(account: Account) -> None:
    anomaly = split(account)
    let_time_pass(datetime(2026, 11, 3, tzinfo=UTC))
    person = UserFactory(role="finance")
    filters = UsageFilters({"month": "2026-10"}, today=date(2026, 11, 3))
    export = request_export(command(at(3, month=11), person=person), filters=filters, file_format="csv")
    assert export.rows == 2
    undo_decision(command(at(4, month=11)), anomaly=anomaly)
    assert changed_figures(export) == 2
