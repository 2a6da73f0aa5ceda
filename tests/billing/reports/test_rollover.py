"""The last readings of a billing period start by themselves. Months of them against the truth: tests/figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from billing.models import SyncRun, UsagePeriod
from tests.billing.conftest import NOON, Meter


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
        meter.tick(datetime(2026, 11, 18, hour, minute, tzinfo=UTC))
        new = set(SyncRun.objects.filter(kind="deadline").values_list("slot", flat=True)) - before
        assert sorted(new) == slots, clock
    last = SyncRun.objects.get(slot="2026-11-18/5m")
    assert (last.total, last.done) == (1, 1)
    period = UsagePeriod.objects.get(account=ending)
    assert period.read_at == period.ends_at - timedelta(minutes=5)
    assert UsagePeriod.objects.get(account=later).read_at == NOON, "its period doesn't end yet"
