"""Usage syncs of the demo: started as by the scheduler, and processed in this process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache

from billing.models import SyncRun
from billing.usage import due_runs, midnight_runs, runs, statistics_runs
from billing.usage import sync as usage_sync
from billing.usage.midnights import midnight_in
from billing.usage.periods import DAY, midnight
from customers.models import Connection
from portal.demo.clock import DemoClock

PASSES = 8
EVERY_NIGHT = timedelta(days=32)
# Usage is compared with statistics in the days around the end of the last month, so that it has exact figures, and in
# the last ones. All days would triple the time of the first start.
BEFORE_A_MONTH_ENDS, AFTER_IT, LATELY = 10, 3, 9
SOON = timedelta(seconds=5)
_COMPARING = (SyncRun.Kind.MIDNIGHT, SyncRun.Kind.STATISTICS)
# Time before the end of a billing period; afterwards the provider no longer reports it.
BEFORE_THE_END = timedelta(minutes=4)


def read_night(stage: DemoClock) -> None:
    # A run that failed last night is past its end by now; open, it would keep the next ones out.
    for left in SyncRun.objects.filter(state=SyncRun.State.RUNNING):
        _work(stage, left)
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


def comparisons(last: datetime, zones: frozenset[str]) -> Iterator[datetime]:
    """Yield the last weeks' times at which usage is compared with statistics: the start of each day in each time zone,
    and noon UTC. Without them no figure of the demo would be exact."""
    begun = last.date().replace(day=1)
    around = range((last.date() - begun).days + BEFORE_A_MONTH_ENDS, (last.date() - begun).days - AFTER_IT - 1, -1)
    for back in sorted({*around, *range(LATELY)} - set(range(-AFTER_IT, 0)), reverse=True):
        day = last.date() - back * DAY
        yield from _midnights(day, zones)
        yield datetime.combine(day, statistics_runs.FROM, tzinfo=UTC) + SOON


@cache
def _midnights(day: date, zones: frozenset[str]) -> list[datetime]:
    return sorted({midnight_in(zone, day) + SOON for zone in zones})


def read_comparisons(stage: DemoClock) -> None:
    """Perform the runs that are due at such a time."""
    now = stage.now()
    for connection in Connection.objects.filter(paused=""):
        midnight_runs.start_midnight_runs(connection, now=now)
        statistics_runs.start_statistics_run(connection, now=now)
    for run in SyncRun.objects.filter(state=SyncRun.State.RUNNING, kind__in=_COMPARING):
        _work(stage, run)


def nights(first: datetime, last: datetime) -> Iterator[tuple[datetime, bool]]:
    """Yield times of usage syncs, and whether they are at the end of a day: 00:41, and shortly before midnight. Nights
    long ago are mostly skipped, so that the first start does not take minutes."""
    day = midnight(first.date())
    while day <= last:
        close, at = last - day < EVERY_NIGHT, day + timedelta(minutes=41)
        if at < last and (close or day.toordinal() % 8 == 0):  # a demo that begins at midnight reads nothing ahead
            yield at, False
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
