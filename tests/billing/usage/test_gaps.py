"""Billing periods that nobody read, that end later than inferred, or that a provider names wrongly."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from billing.models import SyncItem, UsagePeriod, UsageSnapshot
from billing.usage.gaps import MOST, periods_between
from billing.usage.periods import Period
from billing.usage.rollups import wrong_sums
from customers.models import Account
from tests.billing.conftest import Meter
from tests.billing.worklist.support import at, decide_october, figure, let_time_pass, october, read
from tests.support.factories import AccountFactory

OCTOBER = Period(date(2026, 10, 1), date(2026, 10, 31))


@pytest.fixture
def account(db: None) -> Any:
    yield AccountFactory(usage_read_at=None)
    assert list(wrong_sums()) == []


def periods() -> list[tuple[str, str, str, int | None]]:
    rows = UsagePeriod.objects.order_by("start_on").values_list("start_on", "end_on", "status", "used")
    return [(f"{start:%m-%d}", f"{end:%m-%d}", status, used) for start, end, status, used in rows]


def test_a_month_that_nobody_read_is_missing(account: Account) -> None:
    read(account, 100_000, at(31, 12))
    december = {"period_start_on": date(2026, 12, 1), "period_end_on": date(2026, 12, 31)}
    read(account, 5, at(5, month=12), **december)
    read(account, 6, at(6, month=12), **december)
    assert periods() == [
        ("10-01", "10-31", "interval", 100_000),
        ("11-01", "11-30", "missing", None),
        ("12-01", "12-31", "open", 6),
    ]
    assert UsagePeriod.objects.get(status="missing").version == 1


def test_the_days_before_a_restart_are_missing(account: Account) -> None:
    """November was expected and is missing; then the provider shows that it began again on the 15th."""
    Account.objects.filter(pk=account.pk).update(created_at=datetime(2026, 9, 1, tzinfo=UTC))
    read(account, 100_000, at(20))
    let_time_pass(at(5, month=11))
    assert periods()[1:] == [("11-01", "11-30", "missing", None)]
    read(account, 5, at(20, month=11), period_start_on=date(2026, 11, 15), period_end_on=date(2026, 12, 14))
    assert periods()[1:] == [("11-01", "11-14", "missing", None), ("11-15", "12-14", "open", 5)]


def test_a_gap_ends_on_the_day_before_and_is_limited() -> None:
    following = Period(date(2026, 12, 10), date(2027, 1, 9))
    found = [(each.start_on, each.end_on) for each in periods_between(OCTOBER, following)]
    assert found == [
        (date(2026, 11, 1), date(2026, 11, 30)),
        (date(2026, 12, 1), date(2026, 12, 9)),
    ]
    ancient = Period(date(1, 1, 1), date(1, 1, 31))
    last = periods_between(ancient, OCTOBER)
    assert (len(last), last[-1].end_on) == (MOST, date(2026, 9, 30))


def test_a_hidden_anchor_day_makes_no_figure_final(account: Account) -> None:
    """A start on 28 February may have the anchor 31: the period ends on the 27th or as late as the 30th of March."""

    def when(month: int, day: int, hour: int) -> datetime:
        return datetime(2027, month, day, hour, tzinfo=UTC)

    february = {"period_start_on": date(2027, 2, 28), "period_end_on": None}
    for moment in (when(3, 20, 3), when(3, 28, 9), when(3, 28, 18)):
        read(account, 100_000, moment, **february)
    let_time_pass(when(3, 28, 19))
    assert periods() == [("02-28", "03-27", "interval", 100_000)]
    read(account, 5, when(3, 31, 9), period_start_on=date(2027, 3, 31), period_end_on=date(2027, 4, 29))
    assert periods() == [("02-28", "03-30", "interval", 100_000), ("03-31", "04-29", "open", 5)]


def test_a_late_answer_does_not_open_a_figure_again(account: Account) -> None:
    read(account, 100_000, at(31))
    let_time_pass(at(1, 9, month=11))
    decide_october(account, "as_known")
    read(account, 100_500, at(31, 20))
    assert (figure(account), october(account).reason) == (("final", 100_500, 100_500), "as_known")


def test_a_period_that_is_to_come_is_no_answer(meter: Meter) -> None:
    """The provider's clock is wrong. Else the current period would be over, and its usage not shown anymore."""
    account = meter.account(per_day=1000)
    meter.read()
    meter.sandbox.admin.set_clock("2027-02-10T12:00:00Z")
    run = meter.finish(meter.start())
    assert list(run.items.values_list("state", "cause")) == [(SyncItem.State.FAILED, "unreadable")]
    assert UsageSnapshot.objects.filter(account=account).count() == 1
    period = UsagePeriod.objects.get(account=account)
    assert (period.status, period.next_seen_at) == ("open", None)


def test_a_period_of_tomorrow_may_have_begun_in_the_east(meter: Meter) -> None:
    meter.account()
    meter.now = datetime(2026, 11, 30, 11, 0, tzinfo=UTC)
    meter.sandbox.admin.set_clock((meter.now + timedelta(hours=14)).isoformat())
    assert meter.finish(meter.start()).done == 1
