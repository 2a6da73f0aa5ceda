"""Starting of due usage syncs, and resuming of paused ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext_lazy

from billing.models import PooledSnapshot, SyncRun, UsagePeriod
from billing.usage import midnight_runs, statistics_runs
from billing.usage.assess import LAG, PACIFIC
from billing.usage.at_risk import by_money_at_risk, readable_in, reading_time
from billing.usage.periods import DAY, midnight
from billing.usage.reset_zones import pacific_midnight, zones_of
from billing.usage.runs import (
    OVERVIEWS,
    RUN_HOURS,
    SYNC_CHUNK,
    accounts_of,
    is_pooled,
    resume_waiting_run,
    start_run,
)
from billing.usage.snapshots import store_final_readings
from customers.models import Account, Connection
from customers.monitoring.heartbeat import Work
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

NIGHTLY_AT = time(0, 30)
# The time of day at which the v2 report is read on its processing date.
PROCESSING_AT = time(12)


@dataclass(frozen=True, slots=True)
class Pass:
    """A reading around a possible end of billing periods. `lead` is the time before the end, negative after it.

    `all`: it starts early enough to read all accounts in time; otherwise only as many as fit into the time left.
    """

    label: str
    lead: timedelta
    all: bool = True


# Before the end: afterwards figures of the ended period are no longer available.
BEFORE = (
    Pass("24h", timedelta(hours=24)),
    Pass("1h", timedelta(hours=1)),
    Pass("5m", timedelta(minutes=5), all=False),
)
# After a possible end: until the provider shows the new period. One page of the provider names 12:01 Pacific time.
AFTER_UTC = (Pass("after", -timedelta(minutes=1), all=False),)
AFTER_PACIFIC = (
    Pass("after", -timedelta(minutes=2), all=False),
    Pass("after-8h", -LAG - timedelta(minutes=5), all=False),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """A moment at which billing periods with the last day `end_on` may end, and the passes around it."""

    end_on: date
    at: datetime
    passes: tuple[Pass, ...]
    zone: str = ""

    def reached(self, *, now: datetime, takes: timedelta) -> tuple[Pass, datetime] | None:
        """Return the last pass whose time has come, and until when it may run."""
        starts = [(self.at - (max(each.lead, takes) if each.all else each.lead), each) for each in self.passes]
        due = [(start, each) for start, each in starts if now >= start]
        if not due:
            return None
        start, last = due[-1]
        return last, self.at if last.lead > timedelta(0) else start + LAG

    def slot(self, label: str) -> str:
        return f"{self.end_on.isoformat()}/{self.zone}{label}"


def tick(*, now: datetime) -> None:
    """Start all due runs, resume paused ones and enqueue those with work. Runs every half minute.

    The state is in the database, so lost task messages cause no loss.
    """
    store_final_readings()
    for connection in Connection.objects.filter(paused__in=Connection.READABLE):
        start_nightly(connection, now=now)
        _start_passes(connection, now=now)
        _start_processing(connection, now=now)
        midnight_runs.start_midnight_runs(connection, now=now)
        statistics_runs.start_statistics_run(connection, now=now)
        resume_waiting_run(connection, now=now)
    due = SyncRun.objects.filter(state=SyncRun.State.RUNNING).due(now=now)
    for run_id in due.values_list("pk", flat=True):
        enqueue_on_commit(SYNC_CHUNK, run_id)


def work(now: datetime) -> Work:
    """Return the state of the usage syncs for the system status page."""
    running = SyncRun.objects.filter(state=SyncRun.State.RUNNING)
    due = running.filter(lease_until=None, not_before__lte=now).order_by("not_before")
    return Work(
        "syncs",
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


def _start_passes(connection: Connection, *, now: datetime) -> None:
    """Start the due pass around each possible end of billing periods."""
    for ending in _endings(connection, now):
        accounts = _ending_accounts(connection, ending.end_on)
        takes = timedelta(0) if is_pooled(connection) else reading_time(connection, accounts.count())
        reached = ending.reached(now=now, takes=takes)
        if reached is None or now >= reached[1]:
            continue
        last, until = reached
        if not last.all and not is_pooled(connection):
            accounts = accounts[: readable_in(connection, until - now)]
        _start_pass(connection, slot=ending.slot(last.label), accounts=accounts, now=now, until=until)


def _start_pass(
    connection: Connection, *, slot: str, accounts: QuerySet[Account], now: datetime, until: datetime
) -> None:
    try:
        start_run(connection=connection, kind=SyncRun.Kind.DEADLINE, slot=slot, now=now, until=until, accounts=accounts)
    except Refusal:
        return


def _ending_accounts(connection: Connection, end_on: date) -> QuerySet[Account]:
    """Return the accounts whose last known billing period ends on that day."""
    return by_money_at_risk(accounts_of(connection).filter(usage_end_on=end_on), connection)


def _endings(connection: Connection, now: datetime) -> list[Ending]:
    """Return the possible ends around `now`. Pooled reports name theirs. Otherwise it is midnight UTC or midnight
    Pacific time, and both as long as the connection's zone is not known; where a reading after one of them still shows
    the ended period, it is repeated after the other."""
    if is_pooled(connection):
        pool = PooledSnapshot.objects.filter(connection=connection, starts_at__lte=now, ends_at__gt=now)
        found = pool.order_by("as_of", "seq").values_list("period_end_on", "ends_at").last()
        return [Ending(*found, passes=BEFORE)] if found else []
    zone = zones_of([connection.pk]).get(connection.pk, "")
    today, there = now.astimezone(UTC).date(), now.astimezone(PACIFIC).date()
    utc = [Ending(today, midnight(today + DAY), BEFORE), Ending(today - DAY, midnight(today), AFTER_UTC)]
    pacific = [
        Ending(there, pacific_midnight(there + DAY), BEFORE if zone else BEFORE[1:], "pacific-"),
        Ending(there - DAY, pacific_midnight(there), AFTER_PACIFIC, "pacific-"),
    ]
    if zone == PACIFIC.key:
        return pacific
    return [*utc, *(pacific[1:] if zone else pacific)]


def _start_processing(connection: Connection, *, now: datetime) -> None:
    """Start a run for accounts whose v2 report is processed today."""
    today = now.astimezone(UTC).date()
    if connection.usage_source not in OVERVIEWS or now < datetime.combine(today, PROCESSING_AT, tzinfo=UTC):
        return
    latest = UsagePeriod.objects.filter(account=OuterRef("pk"), latest__process_on=today)
    accounts = accounts_of(connection).filter(Exists(latest))
    slot = f"{today.isoformat()}/processing"
    _start_pass(connection, slot=slot, accounts=accounts, now=now, until=min(now + RUN_HOURS, next_nightly(now)))


def next_nightly(now: datetime) -> datetime:
    today = midnight(now.astimezone(UTC).date()) + timedelta(hours=NIGHTLY_AT.hour, minutes=NIGHTLY_AT.minute)
    return today if now < today else today + DAY
