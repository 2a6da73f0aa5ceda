"""Start usage runs that are due, and move those on that wait."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q
from django.utils.translation import gettext_lazy

from billing.models import PooledSnapshot, SyncRun
from billing.usage.periods import DAY, midnight
from billing.usage.runs import (
    RUN_HOURS,
    SYNC_CHUNK,
    UnableToSync,
    accounts_of,
    is_pooled,
    resume_waiting_run,
    start_run,
)
from billing.usage.snapshots import store_final_readings
from customers.models import Connection
from customers.monitoring.heartbeat import Work
from portal.queue import enqueue_on_commit

NIGHTLY_AT = time(0, 30)
# The last readings of a cycle, as time before its end. A figure cannot be had any more once the cycle is over.
DEADLINES: tuple[tuple[str, timedelta], ...] = (
    ("24h", timedelta(hours=24)),
    ("1h", timedelta(hours=1)),
    ("5m", timedelta(minutes=5)),
)


def tick(*, now: datetime) -> None:
    """Every half minute: start the night's runs, the last readings of ending cycles, wake what was paused, poke what is
    due. Losing every message loses nothing."""
    store_final_readings()
    for connection in Connection.objects.filter(paused=""):
        start_nightly(connection, now=now)
        _start_deadline(connection, now=now)
        resume_waiting_run(connection, now=now)
    due = SyncRun.objects.filter(
        Q(lease_until=None) | Q(lease_until__lte=now), state=SyncRun.State.RUNNING, not_before__lte=now
    )
    for run_id in due.values_list("pk", flat=True):
        enqueue_on_commit(SYNC_CHUNK, run_id)


def work(now: datetime) -> Work:
    """The runs, for the page that watches the engine."""
    running = SyncRun.objects.filter(state=SyncRun.State.RUNNING)
    due = running.filter(lease_until=None, not_before__lte=now).order_by("not_before")
    return Work(
        gettext_lazy("Usage runs"), due.count(), due.values_list("not_before", flat=True).first(),
        running.filter(lease_until__gt=now).count(), running.filter(lease_until__lte=now).count(), "billing:runs",
    )  # fmt: skip


def start_nightly(connection: Connection, *, now: datetime) -> SyncRun | None:
    """The night's run of today (UTC), from 00:30 on; None when it is too early, when there is nothing to read, or while
    another full run is open: the night's begins after it. It ends before the next night's is due."""
    today = now.astimezone(UTC).date()
    if now < midnight(today) + timedelta(hours=NIGHTLY_AT.hour, minutes=NIGHTLY_AT.minute):
        return None
    slot, until = today.isoformat(), min(now + RUN_HOURS, next_nightly(now))
    try:
        run, _new = start_run(connection=connection, kind=SyncRun.Kind.NIGHTLY, slot=slot, now=now, until=until)
    except UnableToSync:
        return None
    return run if (run.kind, run.slot) == (SyncRun.Kind.NIGHTLY, slot) else None


def _start_deadline(connection: Connection, *, now: datetime) -> None:
    """Read accounts whose cycle ends tonight once more: after midnight the provider tells only of the new cycle."""
    if not (ending := _ending(connection, now)):
        return
    end_on, ends_at, takes = ending
    reached = [label for label, lead in DEADLINES if now >= ends_at - max(lead, takes)]
    if not reached:
        return
    try:
        start_run(
            connection=connection,
            kind=SyncRun.Kind.DEADLINE,
            slot=f"{end_on.isoformat()}/{reached[-1]}",
            now=now,
            until=ends_at,
            end_on=end_on,
        )
    except UnableToSync:
        return


def _ending(connection: Connection, now: datetime) -> tuple[date, datetime, timedelta] | None:
    """Last day and end of what may end soon, and how long its reading takes. None: nothing ends that we know of."""
    if is_pooled(connection):
        pool = PooledSnapshot.objects.filter(connection=connection, starts_at__lte=now, ends_at__gt=now)
        found = pool.order_by("as_of", "seq").values_list("period_end_on", "ends_at").last()
        return (*found, timedelta(0)) if found else None
    end_on = now.astimezone(UTC).date()
    count = accounts_of(connection, end_on=end_on).count()
    return (end_on, midnight(end_on + DAY), _reading_time(connection, count)) if count else None


def _reading_time(connection: Connection, accounts: int) -> timedelta:
    """How long it takes to read so many, with a quarter to spare: the last reading must be over before midnight."""
    return timedelta(minutes=accounts / max(1, connection.requests_per_minute) / 0.8 * 1.25)


def next_nightly(now: datetime) -> datetime:
    today = midnight(now.astimezone(UTC).date()) + timedelta(hours=NIGHTLY_AT.hour, minutes=NIGHTLY_AT.minute)
    return today if now < today else today + DAY
