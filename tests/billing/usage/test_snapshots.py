"""Readings, one by one: what becomes a snapshot, what moves a period, what is left alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.models import MonthTotal, UsagePeriod, UsageSnapshot
from billing.usage import snapshots
from billing.usage.period_ends import assess_due
from billing.usage.snapshots import AccountReading, store_final_readings, store_readings
from customers.models import Account, UsageReading
from portal.providers import Usage, UsageSource
from tests.support.factories import AccountFactory, OperationFactory

pytestmark = pytest.mark.django_db
T = datetime(2026, 11, 18, 12, tzinfo=UTC)


def usage(
    used: int | None, *, start: date | None = date(2026, 11, 1), end: date | None = date(2026, 11, 30), **more: Any
) -> Usage:
    return Usage(
        source=UsageSource.CREDITS,
        used=used,
        allowed=1000,
        period_start_on=start,
        period_end_on=end,
        raw={"used": used},
        **more,
    )


def keep(account: Account, what: Usage, at: datetime = T) -> snapshots.StoredReading:
    return store_readings([AccountReading(account.pk, what, at)], run=None)[account.pk]


def test_a_confirmed_reading_moves_the_time_and_adds_no_row() -> None:
    account = AccountFactory()
    assert keep(account, usage(10)).new
    assert not keep(account, usage(10), T + timedelta(hours=5)).new
    period = UsagePeriod.objects.get()
    assert (period.readings, period.read_at) == (2, T + timedelta(hours=5))
    assert UsageSnapshot.objects.get().as_of == T


def test_a_correction_appends_and_the_history_keeps_both() -> None:
    account = AccountFactory()
    keep(account, usage(10))
    keep(account, usage(25), T + timedelta(hours=1))
    assert list(UsageSnapshot.objects.order_by("as_of").values_list("used", flat=True)) == [10, 25]
    assert UsagePeriod.objects.get().used == 25


def test_two_readings_of_one_moment_are_numbered() -> None:
    account = AccountFactory()
    keep(account, usage(10))
    keep(account, usage(25))
    assert list(UsageSnapshot.objects.values_list("seq", "used")) == [(0, 10), (1, 25)]


def test_a_late_reading_does_not_move_what_was_read_after_it() -> None:
    account = AccountFactory()
    keep(account, usage(30), T)
    keep(account, usage(20), T - timedelta(hours=1))
    assert UsagePeriod.objects.get().used == 30


def test_a_reading_of_the_cycle_before_leaves_the_present_one() -> None:
    account = AccountFactory(usage_read_at=None)
    keep(account, usage(500, start=date(2026, 10, 1), end=date(2026, 10, 31)), T - timedelta(days=20))
    keep(account, usage(10))
    keep(account, usage(510, start=date(2026, 10, 1), end=date(2026, 10, 31)), T + timedelta(hours=1))
    account.refresh_from_db()
    assert account.usage_used == 10
    assert sorted(UsagePeriod.objects.values_list("used", flat=True)) == [10, 510]


def test_the_overage_is_reported_derived_or_unknown() -> None:
    told, derived, unknown = (AccountFactory() for _ in range(3))
    keep(told, usage(1500, overage=400))
    keep(derived, usage(1500))
    store_readings(
        [AccountReading(unknown.pk, Usage(source=UsageSource.CREDITS, used=5, period_start_on=date(2026, 11, 1)), T)],
        run=None,
    )
    found = {each.account_id: each.overage for each in UsageSnapshot.objects.all()}
    assert found == {told.pk: 400, derived.pk: 500, unknown.pk: None}
    figures = {each.account_id: each.overage for each in UsagePeriod.objects.all()}
    assert figures == {told.pk: 0, derived.pk: 500, unknown.pk: None}, "400 contradicts 1500 of 1000: it waits"


def test_without_any_date_the_calendar_month_is_inferred() -> None:
    account = AccountFactory()
    keep(account, usage(5, start=None, end=None))
    snapshot = UsageSnapshot.objects.get()
    assert (snapshot.period_start_on, snapshot.period_end_on, snapshot.period_inferred) == (
        date(2026, 11, 1), date(2026, 11, 30), True,
    )  # fmt: skip


def test_an_answer_without_a_figure_is_never_kept() -> None:
    with pytest.raises(ValueError, match="not a usage snapshot"):
        keep(AccountFactory(), usage(None))
    assert UsageSnapshot.objects.count() == 0


def test_a_final_reading_with_an_absurd_cost_stops_no_other() -> None:
    for cost in ("1000000000000", "2.5"):
        operation = OperationFactory(account=AccountFactory(state="deleted"), kind="delete", state="succeeded")
        told = {"used": 5, "period_start_on": "2026-11-01", "period_end_on": "2026-11-30", "currency": "EUR"}
        UsageReading.objects.create(
            operation=operation, account=operation.account, source="pooled", taken_at=T,
            usage=told | {"allocated_cost": cost},
        )  # fmt: skip
    assert store_final_readings() == 1
    assert UsageSnapshot.objects.get().allocated_cost == Decimal("2.5")


def test_the_last_reading_before_a_delete_is_stored_once() -> None:
    account = AccountFactory(state="deleted")
    operation = OperationFactory(account=account, kind="delete", state="succeeded")
    UsageReading.objects.create(
        operation=operation,
        account=account,
        source="overview_json",
        taken_at=T,
        usage={
            "source": "overview_json",
            "used": 77,
            "allowed": 1000,
            "remaining": 923,
            "overage": 0,
            "requests": 80,
            "reputation": "98.5",
            "package": "Gold",
            "period_start_on": "2026-11-01",
            "period_end_on": "2026-11-30",
            "period_process_on": "2026-12-01",
            "period_inferred": False,
            "raw": {"credits_used": "77"},
        },
    )
    silent = OperationFactory(account=AccountFactory(), kind="delete", state="failed")
    UsageReading.objects.create(
        operation=silent, account=silent.account, source="credits", taken_at=T, usage={"used": None}
    )
    assert [store_final_readings(), store_final_readings()] == [1, 0]
    snapshot = UsageSnapshot.objects.get()
    assert (snapshot.used, snapshot.reputation, snapshot.process_on) == (77, Decimal("98.5"), date(2026, 12, 1))
    assert snapshot.final_reading is not None


def test_a_missing_figure_that_comes_moves_the_totals() -> None:
    """Also where the answer has nothing but the count: no quota, no cost, the same dates."""
    account = AccountFactory()
    Account.objects.filter(pk=account.pk).update(
        usage_end_on=None, created_at=datetime(2026, 11, 1, tzinfo=UTC), usage_read_at=None
    )
    assess_due(now=T)
    assert UsagePeriod.objects.get().status == "missing"
    assert MonthTotal.objects.get().missing == 1
    package = UsagePeriod.objects.get().package
    bare = Usage(UsageSource.CREDITS, 10, period_start_on=date(2026, 11, 1), period_end_on=date(2026, 11, 30))
    store_readings([AccountReading(account.pk, bare, T, package)], run=None)
    assert UsagePeriod.objects.get().status == "open"
    total = MonthTotal.objects.get()
    assert (total.missing, total.open, total.used) == (0, 1, 10)
