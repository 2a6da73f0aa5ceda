"""Starting of due usage syncs, and resuming of paused ones."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.utils.translation import gettext_lazy

from billing.models import PooledSnapshot, SyncRun
from billing.usage.periods import DAY, midnight
from billing.usage.runs import RUN_HOURS, SYNC_CHUNK, accounts_of, is_pooled, resume_waiting_run, start_run
from billing.usage.snapshots import store_final_readings
from customers.models import Connection
from customers.monitoring.heartbeat import Work
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

NIGHTLY_AT = time(0, 30)
# Last runs of a billing period, as time before its end. Afterwards its figures are no longer available.
DEADLINES: tuple[tuple[str, timedelta], ...] = (
    ("24h", timedelta(hours=24)),
    ("1h", timedelta(hours=1)),
    ("5m", timedelta(minutes=5)),
)


def tick(*, now: datetime) -> None:
    """Start nightly and deadline runs, resume paused runs and enqueue due ones. Runs every half minute.

    The state is in the database, so lost task messages cause no loss.
    """
    store_final_readings()
    for connection in Connection.objects.filter(paused=""):
        start_nightly(connection, now=now)
        _start_deadline(connection, now=now)
        resume_waiting_run(connection, now=now)
    due = SyncRun.objects.filter(state=SyncRun.State.RUNNING).due(now=now)
    for run_id in due.values_list("pk", flat=True):
        enqueue_on_commit(SYNC_CHUNK, run_id)


def work(now: datetime) -> Work:
    """Return the state of the usage syncs for the system status page."""
    running = SyncRun.objects.filter(state=SyncRun.State.RUNNING)
    due = running.filter(lease_until=None, not_before__lte=now).order_by("not_before")
    return Work(
        gettext_lazy("Usage syncs"),
        due.count(),
        due.values_list("not_before", flat=True).first(),
        running.filter(lease_until__gt=now).count(),
        running.filter(lease_until__lte=now).count(),
        "billing:runs",
    )


def start_nightly(connection: Connection, *, now: datetime) -> SyncRun | None:
    """Return today's nightly run (UTC), started from 00:30 on.

    Return None if it is too early, if there is no account to read, or while another full run is open: the nightly run
    starts after it. It ends before the next nightly run is due.
    """
    today = now.astimezone(UTC).date()
    if now < midnight(today) + timedelta(hours=NIGHTLY_AT.hour, minutes=NIGHTLY_AT.minute):
        return None
    slot, until = today.isoformat(), min(now + RUN_HOURS, next_nightly(now))
    try:
        run, _new = start_run(connection=connection, kind=SyncRun.Kind.NIGHTLY, slot=slot, now=now, until=until)
    except Refusal:
        return None
    return run if (run.kind, run.slot) == (SyncRun.Kind.NIGHTLY, slot) else None


def _start_deadline(connection: Connection, *, now: datetime) -> None:
    """Start a run for accounts whose period ends today; from midnight on the provider reports only the new period."""
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
    except Refusal:
        return


def _ending(connection: Connection, now: datetime) -> tuple[date, datetime, timedelta] | None:
    """Return the last day and the end of a period that may end soon, and the time its run needs; None if none is
    known."""
    if is_pooled(connection):
        pool = PooledSnapshot.objects.filter(connection=connection, starts_at__lte=now, ends_at__gt=now)
        found = pool.order_by("as_of", "seq").values_list("period_end_on", "ends_at").last()
        return (*found, timedelta(0)) if found else None
    end_on = now.astimezone(UTC).date()
    count = accounts_of(connection, end_on=end_on).count()
    return (end_on, midnight(end_on + DAY), _reading_time(connection, count)) if count else None


def _reading_time(connection: Connection, accounts: int) -> timedelta:
    """Return the time a run over `accounts` needs, plus a quarter, so that the last run ends before midnight."""
    return timedelta(minutes=accounts / max(1, connection.requests_per_minute) / 0.8 * 1.25)


def next_nightly(now: datetime) -> datetime:
    today = midnight(now.astimezone(UTC).date()) + timedelta(hours=NIGHTLY_AT.hour, minutes=NIGHTLY_AT.minute)
    return today if now < today else today + DAY
