"""Usage syncs: starting, retrying, ending and resuming them. The accounts are read by `billing.usage.sync`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction
from django.db import connection as database
from django.db.models import Count, F, Min, Q, QuerySet, Value
from django.utils.translation import gettext as _

from billing.models import SyncItem, SyncRun
from billing.usage import failure_reasons
from billing.usage.batches import in_a_transaction
from billing.usage.snapshots import lock_accounts
from customers.connections import commands as connection_commands
from customers.models import Account, Connection
from customers.models.account import AccountState
from customers.observed import usage_readings
from portal.access.models import User
from portal.commands import Command
from portal.providers import UsageSource
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

RUN_HOURS = timedelta(hours=22)
PASS_GAPS = {SyncRun.Kind.NIGHTLY: timedelta(minutes=10), SyncRun.Kind.DEADLINE: timedelta(minutes=1)}
ASKED_GAP = timedelta(minutes=1)
# Requests this close together are one: a sync of few accounts may have ended when the second arrives.
SAME_MOMENT = timedelta(seconds=2)
GIVE_UP_TOGETHER = 500
SYNC_CHUNK = "billing.sync_chunk"
OVERVIEWS = (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML)
# Sources that use the same key as operations: if it is rejected, nothing else on the connection works either.
SHARE_THE_KEY = frozenset({UsageSource.CREDITS, UsageSource.POOLED})


# --- Start --------------------------------------------------------------------------------------------------------


def accounts_of(connection: Connection) -> QuerySet[Account]:
    """Return the accounts a full run reads: all that exist at the provider, without duplicates."""
    accounts = Account.objects.filter(connection=connection, provider_id__isnull=False, duplicate_of=None)
    return accounts.exclude(state=AccountState.DELETED).order_by("pk")


def start_run(
    *,
    connection: Connection,
    kind: str,
    slot: str,
    now: datetime,
    until: datetime,
    asked_by: User | None = None,
    accounts: QuerySet[Account] | None = None,
) -> tuple[SyncRun, bool]:
    """Return the run of this slot, and whether it was started by this call. Concurrent calls start one run.

    `accounts`: those to read, in this order; by default all. A connection has one open full run: if another one is
    open, it is returned and nothing is started. A source that reports all accounts at once is always read whole, even
    without accounts: the report includes removed ones. Raises `Refusal`.
    """
    if existing := _instead(connection, kind, slot):
        return existing, False
    _check_source(connection)
    if accounts is None or is_pooled(connection):
        accounts = accounts_of(connection)
    if not is_pooled(connection) and not accounts.exists():
        raise Refusal(_("%(name)s has no accounts to sync.") % {"name": connection.name})
    try:
        with transaction.atomic():
            run = SyncRun.objects.create(
                connection=connection,
                kind=kind,
                slot=slot,
                source=connection.usage_source,
                not_before=now,
                until=until,
                started_at=now,
                asked_by=asked_by,
                total=accounts.count() if kind in SyncRun.WITHOUT_ITEMS else 0,
            )
            if kind not in SyncRun.WITHOUT_ITEMS:
                _seed(run, accounts)
            enqueue_on_commit(SYNC_CHUNK, run.pk)
    except IntegrityError:
        if existing := _instead(connection, kind, slot):
            return existing, False
        raise Refusal(  # the open run ended at this moment
            _("Another sync of %(name)s just ended. Try again.") % {"name": connection.name}
        ) from None
    return run, True


def open_full_run(connection: Connection) -> SyncRun | None:
    """Return the connection's running or paused full run, if any."""
    full = SyncRun.objects.filter(connection=connection, kind__in=SyncRun.FULL, state__in=SyncRun.OPEN)
    return full.select_related("asked_by").first()


def _instead(connection: Connection, kind: str, slot: str) -> SyncRun | None:
    same = SyncRun.objects.filter(connection=connection, kind=kind, slot=slot).first()
    return same or (open_full_run(connection) if kind in SyncRun.FULL else None)


def _seed(run: SyncRun, accounts: QuerySet[Account]) -> None:
    """Create all items in one statement, so that a run is never stored with only some of them. Items are read in the
    order of their IDs."""
    columns = accounts.values_list(
        Value(run.pk), "pk", Value(SyncItem.State.PENDING.value), Value(0), Value(""), Value("")
    )
    chosen, values = columns.query.sql_with_params()
    into = "INSERT INTO billing_syncitem (run_id, account_id, state, tries, cause, message) "
    with database.cursor() as cursor:
        cursor.execute(into + chosen, values)
    SyncRun.objects.filter(pk=run.pk).update(total=SyncItem.objects.filter(run=run).count())
    run.refresh_from_db(fields=["total"])


def request_runs(command: Command, *, connections: Iterable[Connection]) -> list[tuple[SyncRun, bool]]:
    """Start a sync now; return each connection's run and whether it was started by this call.

    A connection that is being synced keeps its run. Raises `Refusal` if no run can be started.
    """
    found, refusals = [], []
    for connection in connections:
        try:
            found.append(_ask_run(command, connection))
        except Refusal as refusal:
            refusals.append(str(refusal))
    if not found:
        raise Refusal(" ".join(refusals) or _("There are no connections yet."))
    return found


def _ask_run(command: Command, connection: Connection) -> tuple[SyncRun, bool]:
    if not connection.is_readable:
        raise Refusal(_("%(name)s is paused. Resume the connection first.") % {"name": connection.name})
    if ended := _ended_just_now(connection, command.now):
        return ended, False
    with transaction.atomic():
        run, new = start_run(
            connection=connection,
            kind=SyncRun.Kind.ASKED,
            slot=command.token[:64],
            now=command.now,
            until=command.now + RUN_HOURS,
            asked_by=command.person,
        )
        if new:
            command.record(
                verb="usage.run_started",
                obj=run,
                after={"connection": connection.name, "source": run.source, "accounts": run.total},
            )
        elif run.state == SyncRun.State.PAUSED:
            resume_waiting_run(connection, now=command.now)
    return run, new


def _ended_just_now(connection: Connection, now: datetime) -> SyncRun | None:
    """Return the run of another request of the same moment if it has ended already."""
    ended = SyncRun.objects.filter(connection=connection, kind=SyncRun.Kind.ASKED, finished_at__isnull=False)
    lately = ended.filter(started_at__gt=now - SAME_MOMENT).exclude(state=SyncRun.State.ABORTED)
    return lately.select_related("asked_by").first()


def told_of_running(run: SyncRun) -> str:
    """Return the message for a user who requested a sync while one is running."""
    who = str(run.asked_by) if run.asked_by else _("the scheduler")
    if run.state not in SyncRun.OPEN:
        return _("%(name)s was just synced (requested by %(who)s).") % {"name": run.connection.name, "who": who}
    words = {"name": run.connection.name, "who": who, "when": f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"}
    return _("%(name)s is already being synced (started by %(who)s on %(when)s).") % words


def retry_run(command: Command, *, run: SyncRun) -> None:
    """Retry the failed items in the same run, or resume a paused run. Raises `Refusal`."""
    if not run.connection.is_readable:
        raise Refusal(_("%(name)s is paused. Resume the connection first.") % {"name": run.connection.name})
    if run.state == SyncRun.State.RUNNING:
        raise Refusal(_("This sync is still in progress."))
    if run.items_removed_at:
        raise Refusal(_("The per-account results of this sync were deleted. Start a new sync."))
    with transaction.atomic():
        if not _reopen(run, now=command.now):  # locks the run's row first, as every batch does
            raise Refusal(_("This sync just changed. Reload the page."))
        again = SyncItem.objects.filter(
            Q(state=SyncItem.State.FAILED) | Q(state=SyncItem.State.SKIPPED, cause=failure_reasons.GUARD), run=run
        )
        count = again.update(state=SyncItem.State.PENDING, tries=0, not_before=None, cause="", message="")
        if not count and not run.pending:
            raise Refusal(_("No accounts failed in this sync."))
        SyncRun.objects.filter(pk=run.pk).update(**_counts(run))
        command.record(verb="usage.run_retried", obj=run, after={"accounts": count})
        enqueue_on_commit(SYNC_CHUNK, run.pk)


def _reopen(run: SyncRun, *, now: datetime) -> bool:
    """Reopen an ended or paused run; return False if it changed meanwhile. Raises `Refusal` if another full run is
    open."""
    as_seen = run.as_read().filter(items_removed_at=None)
    try:
        with transaction.atomic():
            changed = as_seen.update(
                state=SyncRun.State.RUNNING,
                fence=F("fence") + 1,
                lease_until=None,
                not_before=now,
                until=now + RUN_HOURS,
                message="",
                finished_at=None,
            )
            return changed == 1
    except IntegrityError:
        other = open_full_run(run.connection)
    told = told_of_running(other) if other else ""
    raise Refusal(" ".join(filter(None, [told, _("Retry the failed accounts when it ends.")])))


def is_pooled(connection: Connection) -> bool:
    return connection.usage_source == UsageSource.POOLED


def _check_source(connection: Connection) -> None:
    if connection.usage_source not in connection.capabilities.usage_sources:
        raise Refusal(_("%(name)s doesn't support its selected usage source.") % {"name": connection.name})


# --- End ----------------------------------------------------------------------------------------------------------


def finish(run: SyncRun, *, now: datetime) -> None:
    """End a run without pending items. Counts are taken from the items, not from the running totals."""
    counts = _counts(run)
    state = SyncRun.State.WITH_ERRORS if counts["failed"] else SyncRun.State.COMPLETE
    run.as_read().update(state=state, lease_until=None, finished_at=now, **counts)


def run_out(run: SyncRun, *, now: datetime) -> None:
    """End a run whose time is over: pending items fail as too late."""
    _give_up(run, SyncItem.State.FAILED, failure_reasons.TOO_LATE, now=now)
    finish(run, now=now)


def abort(run: SyncRun, *, message: str, now: datetime) -> None:
    """Stop the run permanently. Pending items are skipped."""
    _give_up(run, SyncItem.State.SKIPPED, failure_reasons.GUARD, now=now)
    run.as_read().update(
        state=SyncRun.State.ABORTED, lease_until=None, finished_at=now, message=message, **_counts(run)
    )


def pause_run(run: SyncRun, *, message: str) -> None:
    """Pause the run until the connection may be used again."""
    run.as_read().update(state=SyncRun.State.PAUSED, lease_until=None, message=message)


def stop_for_key(run: SyncRun, *, message: str, now: datetime) -> None:
    """Stop the run for a rejected key. If operations use the same key, pause the run and the whole connection."""
    if run.source in SHARE_THE_KEY:
        pause_run(run, message=message)
        connection_commands.pause_for_auth(run.connection, message=message, now=now)
    else:
        abort(run, message=message, now=now)


def next_due(run: SyncRun) -> datetime | None:
    """Return when the next pending item is due; None if one does not wait or none is pending."""
    waiting = SyncItem.objects.filter(run=run, state=SyncItem.State.PENDING)
    if waiting.filter(not_before=None).exists():
        return None
    earliest: datetime | None = waiting.aggregate(at=Min("not_before"))["at"]
    return earliest


def pass_gap(run: SyncRun) -> timedelta:
    return PASS_GAPS.get(SyncRun.Kind(run.kind), ASKED_GAP)


def _counts(run: SyncRun) -> dict[str, int]:
    """Return the counts by the run's items, which are those of accounts that were not read."""
    if run.kind in SyncRun.WITHOUT_ITEMS:
        return {"done": run.done, "failed": run.failed, "skipped": run.total - run.done - run.failed}
    failed, skipped = SyncItem.State.FAILED, SyncItem.State.SKIPPED
    counted: dict[str, int] = SyncItem.objects.filter(run=run).aggregate(
        n=Count("pk"), failed=Count("pk", filter=Q(state=failed)), skipped=Count("pk", filter=Q(state=skipped))
    )
    return {"done": run.total - counted.pop("n"), **counted}


def _give_up(run: SyncRun, state: str, cause: str, *, now: datetime) -> None:
    """Settle pending items batch by batch, each guarded by the run's fence. Raises `LostLease`; then the worker that
    holds the run settles the rest."""
    waiting = SyncItem.objects.filter(run=run, state=SyncItem.State.PENDING).order_by("account_id")
    left = True

    def write() -> None:
        nonlocal left
        run.renew(now=now)
        account_ids = list(waiting.values_list("account_id", flat=True)[:GIVE_UP_TOGETHER])
        lock_accounts(account_ids)
        usage_readings.mark_usage_missing(account_ids=account_ids, asked_at=run.started_at, now=now)
        settled = SyncItem.objects.filter(run=run, account__in=account_ids, state=SyncItem.State.PENDING)
        settled.update(state=state, cause=cause, not_before=None)
        left = bool(account_ids)

    while left:
        in_a_transaction(write)


# --- Resume -------------------------------------------------------------------------------------------------------


def resume_waiting_run(connection: Connection, *, now: datetime) -> None:
    SyncRun.objects.filter(state=SyncRun.State.PAUSED, connection=connection).update(
        state=SyncRun.State.RUNNING, message="", not_before=now, fence=F("fence") + 1
    )
