"""Simulated months of a leap year (two; in `make proof` 24), cycles that begin on every awkward day: what the report
says is what was sent.

After midnight the provider tells only of the new cycle, so the figure of the old one is its last reading. The sandbox
sends until the last second; what is said of a cycle is therefore exact as of its last reading, and that age is kept.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.models import Anomaly, SyncRun, UsagePeriod
from billing.reports.filters import UsageFilters
from billing.reports.queries import build_usage_report
from billing.usage import due_runs
from billing.usage import sync as usage_sync
from billing.usage.periods import last_day, month_after
from tests.billing.conftest import NOON, Meter
from tests.support.samples import is_proof

ANCHORS = (1, 3, 28, 29, 30, 31)
BEGIN, MONTHS = date(2028, 1, 1), 24 if is_proof() else 2
DAYS = (month_after(BEGIN, MONTHS) - BEGIN).days
# Days of a month on which one of these cycles can end.
ENDINGS = (2, 27, 28, 29, 30, 31)
FOUR_MINUTES = timedelta(minutes=4)


def cycles_of(meter: Meter) -> dict[tuple[str, str], tuple[int, str]]:
    """(provider id, start) -> what was really sent so far, and the day of the reset."""
    return {
        (account["id"], cycle["start"]): (cycle["used"], cycle["next_reset"])
        for account in meter.sandbox.admin.truth()
        for cycle in account["cycles"]
    }


def tick(meter: Meter, moment: datetime) -> None:
    meter.at(moment)
    due_runs.tick(now=moment)
    for run in SyncRun.objects.filter(state=SyncRun.State.RUNNING):
        usage_sync.sync_chunk(run.pk, clock=lambda: moment, connect=meter.connect)


@pytest.mark.long
def test_every_cycle_of_every_account_is_what_was_sent(meter: Meter) -> None:
    born = "2028-01-01T00:00:00Z"
    steady = [meter.account(anchor_day=day, born=born, per_day=2_000 + day) for day in ANCHORS]
    bursts = [meter.account(anchor_day=day, born=born) for day in ANCHORS]
    for account in bursts:
        for week in range(DAYS // 7):
            at = datetime(2028, 1, 2, 11, tzinfo=UTC) + timedelta(days=7 * week)
            meter.sandbox.admin.add_usage(account.provider_id or "", 1_111 * (week + 1), at=at.isoformat())
    seen_at_the_end: dict[tuple[str, str], int] = {}
    for step in range(DAYS):
        day = datetime(2028, 1, 1, tzinfo=UTC) + timedelta(days=step)
        if step % 6 == 0:  # most nights would only confirm what is known: a reading now and then is enough
            tick(meter, day + timedelta(minutes=31))
        if day.day not in ENDINGS:
            continue
        tick(meter, day + timedelta(hours=23, minutes=56))
        tomorrow = (day + timedelta(days=1)).date().isoformat()
        seen_at_the_end |= {key: used for key, (used, reset) in cycles_of(meter).items() if reset == tomorrow}

    truth = cycles_of(meter)
    ended = UsagePeriod.objects.filter(ends_at__lte=meter.now + timedelta(minutes=4)).select_related("account")
    assert {(each.account.provider_id, each.start_on.isoformat()) for each in ended} == set(seen_at_the_end)
    assert len(seen_at_the_end) >= MONTHS * len(ANCHORS) * 2 - len(ANCHORS)
    exact = {account.provider_id for account in bursts}
    for period in ended:
        key = (period.account.provider_id or "", period.start_on.isoformat())
        sent, reset = truth[key]
        assert period.used == seen_at_the_end[key], f"not what the provider said at the end: {key}"
        assert (period.end_on + timedelta(days=1)).isoformat() == reset
        assert period.read_at is not None
        assert period.ends_at - period.read_at == FOUR_MINUTES
        if key[0] in exact:
            assert period.used == sent, "nothing was sent after the last reading, so it is exact to the unit"
        else:
            assert 0 <= sent - period.used <= 8, "only the mail of the last four minutes is not known"
    assert not Anomaly.objects.exists(), "a new cycle is not a count that went down"
    assert all(account.usage_periods.count() >= MONTHS for account in steady)


@pytest.mark.long
def test_the_report_of_a_month_adds_up_to_the_snapshots(meter: Meter) -> None:
    for day in ANCHORS:
        meter.account(anchor_day=day, born="2028-01-01T00:00:00Z", per_day=100)
    for step in range(62):
        day = datetime(2028, 1, 1, tzinfo=UTC) + timedelta(days=step)
        if day.day in (1, 2, 27, 28, 29, 30, 31) or step == 61:
            tick(meter, day + timedelta(hours=23, minutes=56))
    months = [date(2028, 1, 1), date(2028, 2, 1), date(2028, 3, 1)]
    asked = [UsageFilters({"month": f"{month:%Y-%m}"}, today=meter.now.date()) for month in months]
    found = [build_usage_report(filters, now=meter.now) for filters in asked]
    for month, report in zip(months, found, strict=True):
        periods = UsagePeriod.objects.filter(end_on__gte=month, end_on__lte=last_day(month))
        assert report.coverage.used == sum(period.used for period in periods)
        assert report.coverage.read == periods.count()
    assert sum(report.coverage.used or 0 for report in found) == sum(
        UsagePeriod.objects.values_list("used", flat=True)
    ), "no cycle is counted twice and none is lost"


def test_the_last_reading_before_the_end_starts_by_itself(meter: Meter) -> None:
    ending, later = meter.account(anchor_day=19), meter.account(anchor_day=25)
    meter.read()  # 18 Nov: the first cycle ends tonight
    for clock, slots in (
        ("12:00", ["2026-11-18/24h"]),
        ("22:59", []),
        ("23:00", ["2026-11-18/1h"]),
        ("23:54", []),
        ("23:55", ["2026-11-18/5m"]),
        ("23:58", []),
    ):
        hour, minute = map(int, clock.split(":"))
        before = set(SyncRun.objects.filter(kind="deadline").values_list("slot", flat=True))
        tick(meter, datetime(2026, 11, 18, hour, minute, tzinfo=UTC))
        new = set(SyncRun.objects.filter(kind="deadline").values_list("slot", flat=True)) - before
        assert sorted(new) == slots, clock
    last = SyncRun.objects.get(slot="2026-11-18/5m")
    assert (last.total, last.done) == (1, 1)
    period = UsagePeriod.objects.get(account=ending)
    assert period.read_at == period.ends_at - timedelta(minutes=5)
    assert UsagePeriod.objects.get(account=later).read_at == NOON, "its period doesn't end yet"
