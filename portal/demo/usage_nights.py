"""Usage syncs of the demo: started as by the scheduler, and processed in this process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from billing.models import SyncRun
from billing.usage import due_runs, runs
from billing.usage import sync as usage_sync
from billing.usage.periods import DAY, midnight
from customers.models import Connection
from portal.demo.clock import DemoClock

PASSES = 8
EVERY_NIGHT = timedelta(days=32)
# Time before the end of a billing period; afterwards the provider no longer reports it.
BEFORE_THE_END = timedelta(minutes=4)


def read_night(stage: DemoClock) -> None:
    for connection in Connection.objects.filter(paused=""):
        run = due_runs.start_nightly(connection, now=stage.now())
        if run and not run.has_ended:
            _work(stage, run)


def read_ending_cycles(stage: DemoClock) -> None:
    """Read the accounts whose billing period ends today once more."""
    end_on = stage.now().astimezone(UTC).date()
    for connection in Connection.objects.filter(paused=""):
        ending = runs.accounts_of(connection).filter(usage_end_on=end_on)
        if ending.exists():
            run, _ = runs.start_run(
                connection=connection,
                kind=SyncRun.Kind.DEADLINE,
                slot=f"{end_on.isoformat()}/5m",
                now=stage.now(),
                until=midnight(end_on + DAY),
                accounts=ending,
            )
            _work(stage, run)


def nights(first: datetime, last: datetime) -> Iterator[tuple[datetime, bool]]:
    """Yield times of usage syncs, and whether they are at the end of a day: 00:41, and shortly before midnight. Nights
    long ago are mostly skipped, so that the first start does not take minutes."""
    day = midnight(first.date())
    while day <= last:
        close = last - day < EVERY_NIGHT
        if close or day.toordinal() % 8 == 0:
            yield day + timedelta(minutes=41), False
        if day + DAY - BEFORE_THE_END < last:
            yield day + DAY - BEFORE_THE_END, True
        day += DAY


def _work(stage: DemoClock, run: SyncRun) -> None:
    for _ in range(PASSES):
        while usage_sync.sync_chunk(run.pk, clock=stage.now):
            pass
        run.refresh_from_db()
        if run.has_ended:
            return
        stage.move(run.not_before + timedelta(seconds=1))
