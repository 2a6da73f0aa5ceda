"""Readings at midnight of the accounts' own time zones, against the sandbox."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from billing.models import MidnightReading, SyncRun, UsageSnapshot
from billing.usage import midnight_runs, midnights
from billing.usage import sync as usage_sync
from billing.usage.invariants import counts_off
from customers.models import Account, Customer
from tests.billing.conftest import Meter

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
SOON = MIDNIGHT + timedelta(seconds=20)


def due(meter: Meter, now: datetime) -> list[str]:
    before = set(SyncRun.objects.values_list("slot", flat=True))
    midnight_runs.start_midnight_runs(meter.connection, now=now)
    return sorted(set(SyncRun.objects.values_list("slot", flat=True)) - before)


def work(meter: Meter) -> SyncRun:
    run = SyncRun.objects.filter(kind="midnight").latest("pk")
    usage_sync.sync_chunk(run.pk, clock=lambda: meter.now, connect=meter.connect)
    run.refresh_from_db()
    return run


def read_before(meter: Meter) -> None:
    meter.at(MIDNIGHT - timedelta(hours=5))
    meter.read()


def test_a_run_starts_in_the_first_minute_of_a_day(meter: Meter) -> None:
    meter.account()
    read_before(meter)
    assert due(meter, MIDNIGHT - timedelta(seconds=1)) == []
    assert due(meter, MIDNIGHT + timedelta(seconds=60)) == []
    assert due(meter, SOON) == ["2026-11-25/UTC"]
    assert due(meter, SOON + timedelta(seconds=30)) == []


def test_each_time_zone_has_its_own_midnight(meter: Meter) -> None:
    india, unknown = meter.account(), meter.account()
    Customer.objects.filter(pk=india.customer_id).update(timezone="Asia/Kolkata")
    Customer.objects.filter(pk=unknown.customer_id).update(timezone="Mars/Olympus")
    read_before(meter)
    assert due(meter, datetime(2026, 11, 24, 18, 30, 5, tzinfo=UTC)) == ["2026-11-25/Asia/Kolkata"]
    assert due(meter, SOON) == ["2026-11-25/UTC"]
    assert [each.pk for each in midnight_runs.accounts_at(meter.connection, "UTC", date(2026, 11, 25))] == [unknown.pk]


def test_accounts_are_read_around_the_end_of_their_period(meter: Meter) -> None:
    account = meter.account()
    read_before(meter)

    def days() -> list[int]:
        all_days = [date(2026, 11, 15) + timedelta(days=n) for n in range(25)]
        return [day.day for day in all_days if midnight_runs.accounts_at(meter.connection, "UTC", day).exists()]

    assert days() == [*range(22, 31), 1, 2, 3], "the last nine days, and three in which the new period is not seen"
    start_on, end_on = date(2026, 11, 30), date(2026, 12, 29)
    Account.objects.filter(pk=account.pk).update(usage_start_on=start_on, usage_end_on=end_on)
    assert days() == [30, 1, 2]


def test_unchanged_usage_is_kept_all_the_same(meter: Meter) -> None:
    account = meter.account()
    read_before(meter)
    meter.at(SOON)
    due(meter, SOON)
    run = work(meter)
    assert (run.state, run.total, run.done) == ("complete", 1, 1)
    assert UsageSnapshot.objects.count() == 1
    row = MidnightReading.objects.get()
    assert (row.account, row.day, row.at, row.zone, row.used) == (account, date(2026, 11, 25), SOON, "UTC", 0)
    assert row.reported_start_on == date(2026, 11, 1)
    assert not list(counts_off(meter.now))


def test_what_comes_after_the_first_minute_is_not_compared(meter: Meter) -> None:
    meter.account()
    read_before(meter)
    due(meter, SOON)
    meter.at(MIDNIGHT + midnights.WITHIN)
    run = work(meter)
    assert (run.state, run.done, run.skipped) == ("complete", 0, 1)
    assert not MidnightReading.objects.exists()


def test_only_what_fits_is_read_and_the_same_ones_each_night(meter: Meter) -> None:
    accounts = [meter.account() for _ in range(5)]
    read_before(meter)
    for number, account in enumerate(accounts):
        Account.objects.filter(pk=account.pk).update(usage_used=number * 1_000)
    meter.connection.requests_per_minute = 5
    meter.connection.save()
    due(meter, MIDNIGHT)
    meter.at(MIDNIGHT)
    assert work(meter).total == 3
    chosen = set(MidnightReading.objects.values_list("account", flat=True))
    assert chosen == {each.pk for each in accounts[2:]}, "those with the most at risk"
    Account.objects.filter(pk=accounts[0].pk).update(usage_used=90_000)
    meter.at(MIDNIGHT + timedelta(days=1))
    due(meter, meter.now)
    work(meter)
    again = set(MidnightReading.objects.filter(day=date(2026, 11, 26)).values_list("account", flat=True))
    assert again == chosen, "a gap would leave nothing to compare"


def test_no_reading_where_statistics_are_denied(meter: Meter) -> None:
    meter.account()
    read_before(meter)
    SyncRun.objects.create(
        connection=meter.connection, kind="statistics", slot="2026-11-04/all", source="credits", state="aborted",
        not_before=MIDNIGHT, until=MIDNIGHT, started_at=MIDNIGHT,
    )  # fmt: skip
    assert due(meter, SOON) == []
