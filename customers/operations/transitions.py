"""State transitions of an operation's row: claim, intent, conclusion, expiry. Every write checks the fence of its
claim.

There are no row locks here: a conditional UPDATE that must change one row serves SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max

from customers.models import Account, Attempt, Connection, Hold, Operation, RemoteAccount, Scan, Step
from customers.models.breaker import at_work
from customers.models.operation import OperationQuerySet
from customers.models.operation_states import FINAL, OperationKind, OperationState, check_step
from customers.operations.create_limits import create_concurrency_key, creates_one_at_a_time, stop_of_create
from portal import audit, metrics
from portal.installation.epochs import current_epoch
from portal.leases import LostLease
from portal.texts import say

CLAIMS_BEFORE_A_PERSON = 3
# The creates of a restored connection become unknown one by one, and are searched for after that.
ASSUMED_TOGETHER = timedelta(seconds=10)


class SuspendOnHold(Exception):
    """A hold was placed on the account since (`hold`): it must not be suspended; nothing was written."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(hold.text)
        self.hold = hold


class ConnectionStopped(Exception):
    """The connection was paused, edited, or its circuit breaker opened, after the claim; nothing was written."""


def ready(*, now: datetime) -> OperationQuerySet:
    """Return the queued operations that are due, first of their account, and of a connection at work."""
    return Operation.objects.at_front().filter(at_work("connection__"), state=OperationState.QUEUED).due(now=now)


def to_verify(*, now: datetime) -> OperationQuerySet:
    """Return the unknown operations that are due to be verified, and that no worker holds."""
    return Operation.objects.filter(at_work("connection__"), state=OperationState.UNKNOWN).due(now=now)


def claim(operation_id: int, *, now: datetime) -> Operation | None:
    """Claim a due operation, or return None: not due, paused, behind another one, or its concurrency key is busy.

    Being first of its account stays true once it was. Pause and circuit breaker are read again with the intent.
    """
    found = ready(now=now).filter(pk=operation_id).with_last_step()
    operation = found.select_related("account__customer", "connection", "requested_by").first()
    if operation is None:
        return None
    try:
        with transaction.atomic():
            taken = operation.claim(
                now=now,
                state=OperationState.CLAIMED,
                concurrency_key=_concurrency_key(operation),
                lost_claims=F("lost_claims") + 1,
            )
            if not taken:
                return None
            operation.lost_claims += 1
            _share_connection(operation)
            _add_step(operation, OperationState.CLAIMED, now=now)
    except IntegrityError:  # operation_one_busy_per_lane: another operation holds the concurrency key
        return None
    operation.state = OperationState.CLAIMED
    return operation


def claim_for_verification(operation_id: int, *, now: datetime) -> Operation | None:
    """Claim an unknown operation to find out whether it was applied. Raises the fence, changes no state."""
    found = to_verify(now=now).with_last_step().select_related("account__customer", "connection", "requested_by")
    operation = found.claim(operation_id, now=now, verifications=F("verifications") + 1)
    if operation is not None:
        operation.verifications += 1
        _share_connection(operation)
    return operation


def _share_connection(operation: Operation) -> None:
    """Let the account use the connection's row that was read with the operation, instead of reading it again."""
    if operation.account.connection_id == operation.connection_id:
        operation.account.connection = operation.connection


def reschedule_verification(operation: Operation, *, until: datetime, summary: str) -> None:
    """Release an unknown operation until a time, still unknown."""
    operation.as_read().update(lease_until=None, not_before=until, summary=summary)


def move(
    operation: Operation,
    after: OperationState,
    *,
    now: datetime,
    summary: str = "",
    by: Any = None,
    savepoint: bool = True,
    **fields: Any,
) -> None:
    """Make one step of the state table. Raises `LostLease` when the row changed meanwhile, `IllegalStep` off the table.

    A final step clears the lease and, where the operation was not applied, restores the account's last desire. Without
    `savepoint` an error ends the caller's transaction as well.
    """
    check_step(operation.state, after)
    fields |= {"state": after, "summary": summary}
    if after in FINAL:
        fields |= {"finished_at": now, "lease_until": None}
    elif after not in (OperationState.CLAIMED, OperationState.SENDING):
        fields |= {"lease_until": None}
    counted: dict[str, Any] = {"summary": summary}
    if after == OperationState.QUEUED:
        fields |= {"lost_claims": 0, "requeues": F("requeues") + 1}
        counted |= {"requeues": operation.requeues + 1}
    if after == OperationState.SENDING:
        fields |= {"lost_claims": 0, "attempt_count": F("attempt_count") + 1}
        counted |= {"attempt_count": operation.attempt_count + 1}
    if after == OperationState.UNKNOWN:
        fields = {"unknown_at": now} | fields
    with transaction.atomic(savepoint=savepoint):
        operation.write(**fields)
        _add_step(operation, after, now=now, by=by, note=summary)
        if after in (OperationState.FAILED, OperationState.CANCELLED):
            _restore_desire(operation, now=now)
        if after in (
            OperationState.SUCCEEDED,
            OperationState.FAILED,
            OperationState.UNKNOWN,
            OperationState.NEEDS_ATTENTION,
        ):
            audit.record(
                actor=by,
                verb=f"operation.{after}",
                obj=operation,
                reason=summary,
            )
    operation.state = after
    # The row was as it was read: what the UPDATE counted need not be read back.
    counted |= {name: fields[name] for name in ("lost_claims", "finished_at", "unknown_at") if name in fields}
    for name, value in counted.items():
        setattr(operation, name, value)


def reopen_as_unknown(operation: Operation, *, now: datetime, note: str, error_kind: str) -> None:
    """Move an operation whose send was overwritten to unknown, so that its outcome is searched for. A step outside the
    table, for `customers.monitoring.repair` alone. Raises `LostLease`, or `IntegrityError` while its concurrency key is
    busy."""
    with transaction.atomic():
        operation.take_over(
            state=OperationState.UNKNOWN,
            concurrency_key=_concurrency_key(operation),
            lease_until=None,
            finished_at=None,
            unknown_at=now,
            not_before=now,
            summary=note,
            error_kind=error_kind,
        )
        _add_step(operation, OperationState.UNKNOWN, now=now, note=note)
    operation.refresh_from_db()


def intend(
    operation: Operation,
    *,
    call: str,
    request: str,
    now: datetime,
    body: str = "",
    clock_skew: int | None = None,
    record_seen: Callable[[], bool] | None = None,
) -> Attempt:
    """Commit the intent to send. If this raises, nothing may be sent. `body` is stored with the first intent.

    `record_seen` writes what was read of the account before this send, and returns whether that holds its row.

    Creates of a connection are intended one after the other, so that its limits count each of them.

    Raises `ConnectionStopped` where the connection does not work anymore, `CreateStopped` where one of its limits
    applies, `LostLease` where another worker has the row, `SuspendOnHold` where a hold came before a suspend.
    """
    fields: dict[str, Any] = {"body": body} if body and not operation.body else {}
    is_create = operation.kind == OperationKind.CREATE
    with transaction.atomic():
        is_held = record_seen() if record_seen else False
        if operation.kind == OperationKind.SUSPEND:
            _refuse_held(operation, now=now, is_locked=is_held)
        # Locked until the intent is stored, so that the connection's key and address can't change in between.
        as_claimed = Connection.objects.filter(pk=operation.connection_id, revision=operation.connection.revision)
        connection = (
            as_claimed.select_for_update(of=("self",), no_key=True)
            .filter(at_work())
            .annotate(failures=F("breaker__failures"))
            .first()
        )
        if connection is None:
            raise ConnectionStopped(operation.code)
        operation.connection.no_failures = not connection.failures
        if is_create and (stop := stop_of_create(operation, connection, now=now)):
            raise stop
        move(
            operation,
            OperationState.SENDING,
            now=now,
            lease_until=now + Operation.LEASE,
            savepoint=False,
            **fields,
        )
        return Attempt.objects.create(
            operation=operation,
            n=operation.attempt_count,
            fence=operation.fence,
            call=call,
            request=request,
            intended_at=now,
            epoch=current_epoch(),
            clock_skew=clock_skew,
            **(_marks() if is_create else {}),
        )


def assume_all_sent(operation: Operation, *, now: datetime) -> None:
    """Move a claimed operation of a restored database to unknown, as if it had been sent right after the backup: it may
    have been, and is then found like any send without an answer. Nothing is sent here.

    All other creates of the connection that the restore left open follow: accounts are assigned to all unknown creates
    together.
    """
    _assume_sent(operation, now=now)
    left = Operation.objects.filter(connection=operation.connection_id, kind=OperationKind.CREATE)
    queued = left.filter(state=OperationState.QUEUED, recovery__isnull=False).values_list("pk", flat=True)
    for operation_id in list(queued):
        if other := claim(operation_id, now=now):
            _assume_sent(other, now=now)


def _assume_sent(operation: Operation, *, now: datetime) -> None:
    recovery = operation.recovery
    if recovery is None:  # assumed by another worker just now
        raise LostLease(operation)
    summary = say("restore.assumed_sent")
    with transaction.atomic():
        move(operation, OperationState.SENDING, now=now, recovery=None)
        Attempt.objects.create(
            operation=operation,
            n=operation.attempt_count,
            fence=operation.fence,
            call="sent since the backup?",
            message=summary,
            intended_at=recovery.backup_at,
            epoch=recovery.epoch - 1,
            outcome=Attempt.Outcome.UNKNOWN,
            answered_at=now,
            clock_skew=recovery.scan.clock_skew if recovery.scan else None,
            remote_account_mark=recovery.remote_account_mark,
            scan_mark=recovery.scan_mark,
        )
        move(
            operation,
            OperationState.UNKNOWN,
            now=now,
            not_before=now + ASSUMED_TOGETHER,
            unknown_at=recovery.began_at,  # nothing was sent since, so a scan of the hold counts
            summary=summary,
        )


def _refuse_held(operation: Operation, *, now: datetime, is_locked: bool) -> None:
    """Raise `SuspendOnHold` for a suspend under a hold.

    Placing a hold locks the account's row: it comes before this intent, and is seen here, or after it, and reports
    the suspend. A hold that the requester confirmed to override does not count.
    """
    if not is_locked:
        Account.objects.select_for_update(no_key=True).only("pk").get(pk=operation.account_id)
    hold = Hold.objects.of(operation.account_id, now=now)
    if hold and operation.payload.get("despite_hold") != str(hold.public_id):
        raise SuspendOnHold(hold)


def _marks() -> dict[str, int]:
    """Return the newest keys of remote accounts and scans: rows up to these existed before this moment."""
    return {
        "remote_account_mark": RemoteAccount.objects.aggregate(last=Max("pk"))["last"] or 0,
        "scan_mark": Scan.objects.aggregate(last=Max("pk"))["last"] or 0,
    }


def expire_leases(*, now: datetime) -> int:
    """Requeue operations whose worker did not return, or make them unknown after a send. After several lost claims
    leave them for review. Returns how many."""
    lost = 0
    expired = Operation.objects.filter(state__in=(OperationState.CLAIMED, OperationState.SENDING), lease_until__lt=now)
    for operation in expired.select_related("account__customer", "connection")[:500]:
        try:
            operation.take_over()
            _end_lost_claim(operation, now=now)
            lost += 1
        except LostLease:
            continue
    return lost


def _end_lost_claim(operation: Operation, *, now: datetime) -> None:
    if operation.state == OperationState.SENDING:
        move(
            operation,
            OperationState.UNKNOWN,
            now=now,
            summary=say("worker.lost_answer"),
            error_kind="unknown",
            not_before=now,
        )
    elif operation.lost_claims >= CLAIMS_BEFORE_A_PERSON:
        move(operation, OperationState.NEEDS_ATTENTION, now=now, error_kind="poison", summary=say("worker.lost_often"))
    else:
        lost_claims = operation.lost_claims
        summary = say("worker.lost_claim")
        move(operation, OperationState.QUEUED, now=now, not_before=now, summary=summary)
        Operation.objects.filter(pk=operation.pk, state=OperationState.QUEUED).update(lost_claims=lost_claims)


def backoff(requeues: int, *, now: datetime) -> datetime:
    """Return the next time to try: full jitter up to five minutes, never less than a second."""
    return now + timedelta(seconds=max(1.0, random.uniform(0, min(300.0, 2.0 ** min(requeues + 1, 9)))))  # noqa: S311 jitter


def _concurrency_key(operation: Operation) -> str:
    """Return the account's key; but creates at a provider without idempotency keys run one at a time, unless identity
    can be proved afterwards."""
    one_at_a_time = operation.kind == OperationKind.CREATE and creates_one_at_a_time(operation.connection)
    if one_at_a_time and operation.recovery_id is None:  # else nothing is sent under this claim
        return create_concurrency_key(operation.connection_id)
    return f"account:{operation.account_id}"


def _add_step(operation: Operation, after: str, *, now: datetime, by: Any = None, note: str = "") -> None:
    last = operation.steps.count() if operation.last_step is None else operation.last_step
    transaction.on_commit(metrics.STEPS.labels(operation.kind, after).inc)
    operation.last_step = last + 1
    Step.objects.create(
        operation=operation,
        n=operation.last_step,
        before=operation.state,
        after=after,
        at=now,
        by=by,
        note=note,
    )


STATE_KINDS = (OperationKind.SUSPEND, OperationKind.UNSUSPEND, OperationKind.DELETE)
# The kinds of operation that change the same part of an account's desire.
KINDS_LIKE: dict[str, tuple[OperationKind, ...]] = {
    **dict.fromkeys(STATE_KINDS, STATE_KINDS),
    OperationKind.OFFERINGS: (OperationKind.CREATE, OperationKind.OFFERINGS),
    OperationKind.SETTINGS: (OperationKind.CREATE, OperationKind.SETTINGS),
}


def _restore_desire(operation: Operation, *, now: datetime) -> None:
    """Restore the last value that succeeded, unless a later operation changed the same part of the desire."""
    kinds = KINDS_LIKE.get(operation.kind)
    if kinds is None:
        return  # a create had nothing before it, and changes of keys and domains are no desire of the account
    alike = Operation.objects.filter(account=operation.account_id, kind__in=kinds)
    changed = 0
    while not changed:  # a change of desire at this very moment shows as a risen version: read again
        version = Account.objects.values_list("version", flat=True).get(pk=operation.account_id)
        if (
            alike.filter(number__gt=operation.number)
            .exclude(state__in=(OperationState.FAILED, OperationState.CANCELLED))
            .exists()
        ):
            return
        newer = (
            alike.filter(state=OperationState.SUCCEEDED, finished_at__gt=operation.created_at)
            .order_by("finished_at")
            .last()
        )
        desire = newer.payload["desire"] if newer else operation.before
        changed = Account.objects.filter(pk=operation.account_id, version=version).update(
            **{name: desire[name] for name in operation.before}, version=F("version") + 1, changed_at=now
        )
