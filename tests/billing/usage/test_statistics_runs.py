"""Statistics against the sandbox: when they are read, of which days, and what a failure costs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from billing.models import StatisticsReading, SyncRun
from billing.usage import runs, statistics_runs
from billing.usage import sync as usage_sync
from billing.usage.invariants import counts_off
from customers.models import Connection
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.conftest import Meter

NOON = datetime(2026, 12, 2, 12, tzinfo=UTC)


def due(meter: Meter, now: datetime) -> list[str]:
    before = set(SyncRun.objects.values_list("slot", flat=True))
    statistics_runs.start_statistics_run(meter.connection, now=now)
    return sorted(set(SyncRun.objects.values_list("slot", flat=True)) - before)


def work(meter: Meter) -> SyncRun:
    run = SyncRun.objects.filter(kind="statistics").latest("pk")
    while usage_sync.sync_chunk(run.pk, clock=lambda: meter.now, connect=meter.connect):
        pass
    run.refresh_from_db()
    return run


def test_all_accounts_are_read_twice_a_month(meter: Meter) -> None:
    meter.account()
    assert due(meter, NOON - timedelta(seconds=1)) == []
    assert due(meter, NOON) == ["2026-12-02/all"]
    assert due(meter, NOON + timedelta(minutes=1)) == []
    for day, slots in ((3, []), (4, ["2026-12-04/all"]), (5, []), (16, [])):
        assert due(meter, NOON.replace(day=day)) == slots, day


def test_accounts_are_read_once_their_periods_end_has_settled(meter: Meter) -> None:
    ended, other = meter.account(anchor_day=13, per_day=10), meter.account(anchor_day=20, per_day=10)
    meter.at(datetime(2026, 12, 12, 23, tzinfo=UTC))
    meter.read()
    assert due(meter, NOON.replace(day=15)) == []
    meter.at(NOON.replace(day=16))
    assert due(meter, meter.now) == ["2026-12-16/ended"]
    run = work(meter)
    assert (run.state, run.total, run.done, run.failed) == ("complete", 1, 1, 0)
    reading = StatisticsReading.objects.get()
    assert (reading.account, reading.as_of) == (ended, meter.now)
    # From before the last month and the last period up to yesterday.
    assert (reading.first_on, reading.last_on) == (date(2026, 10, 31), date(2026, 12, 15))
    assert len(reading.days) == 46
    assert reading.days["2026-12-12"] == 10
    assert not other.statistics_readings.exists()


def test_a_range_begins_before_the_period_that_ended(meter: Meter) -> None:
    meter.account(anchor_day=29, per_day=10)
    meter.at(datetime(2026, 11, 27, tzinfo=UTC))
    meter.read()
    meter.at(NOON)
    assert due(meter, meter.now) == ["2026-12-02/all"]
    work(meter)
    assert StatisticsReading.objects.get().first_on == date(2026, 10, 28)


def test_a_key_that_may_not_read_statistics_is_remembered(meter: Meter) -> None:
    for _ in range(3):
        meter.account()
    meter.sandbox.admin.arm("status-403", "stats", count=None)
    due(meter, NOON)
    meter.at(NOON)
    run = work(meter)
    assert (run.state, run.message.code, run.total, run.skipped) == ("aborted", "run.statistics_denied", 3, 3)
    assert statistics_runs.are_denied(meter.connection)
    assert not run.may_be_retried
    meter.connection.refresh_from_db()
    assert not meter.connection.paused
    assert not list(counts_off(meter.now))

    meter.sandbox.admin.clear_faults()
    meter.at(NOON.replace(day=4))
    due(meter, meter.now)
    assert work(meter).state == "complete"
    assert not statistics_runs.are_denied(meter.connection)


def test_one_account_that_is_refused_stops_no_other(meter: Meter) -> None:
    accounts = [meter.account(per_day=5) for _ in range(3)]
    meter.sandbox.admin.arm("status-403", "stats", count=None, email=accounts[1].email)
    due(meter, NOON)
    meter.at(NOON)
    run = work(meter)
    assert (run.state, run.done, run.failed) == ("complete_with_errors", 2, 1)
    assert set(StatisticsReading.objects.values_list("account", flat=True)) == {accounts[0].pk, accounts[2].pk}
    with pytest.raises(Refusal):
        runs.retry_run(Command(meter.person, token=uuid4().hex), run=run)


def test_a_put_off_run_continues_where_it_stopped(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_runs, "TOGETHER", 2)
    accounts = [meter.account(per_day=5) for _ in range(5)]
    meter.sandbox.admin.arm("status-429", "stats", count=1, email=accounts[3].email)
    due(meter, NOON)
    meter.at(NOON)
    run = work(meter)
    assert (run.state, run.done, run.position) == ("running", 3, accounts[2].pk)
    assert run.not_before > meter.now
    SyncRun.objects.filter(pk=run.pk).update(not_before=meter.now)  # the limit's reset is one of the real clock
    run = work(meter)
    assert (run.state, run.done, run.failed) == ("complete", 5, 0)
    assert StatisticsReading.objects.count() == 5


def test_a_provider_that_answers_nothing_is_tried_later(meter: Meter) -> None:
    meter.account()
    meter.sandbox.admin.arm("status-503", "stats", count=None)
    due(meter, NOON)
    meter.at(NOON)
    run = work(meter)
    assert (run.state, run.position, run.failed) == ("running", 0, 0)
    assert run.not_before == meter.now + statistics_runs.PAUSE
    meter.at(run.until)
    run = work(meter)
    assert (run.state, run.total, run.skipped) == ("complete", 1, 1)


def test_a_pooled_connection_has_none(meter: Meter) -> None:
    meter.account()
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source="pooled")
    meter.connection.refresh_from_db()
    assert due(meter, NOON) == []
