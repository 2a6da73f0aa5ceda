"""Execution of one operation at its provider, along the state table in `customers.models.operation_states`.

    queued --claim--> claimed --(reads)--> intent committed = sending --(one change)--> its result
    unknown --claim for verification--> (reads back) --> succeeded | failed | queued | still unknown

A send that only prepares (an orphan deleted before a key is created again) requeues the operation at once.

Everything slow or failing early happens in `claimed`, where stopping has no effect. Between the committed intent and
the recorded answer there is exactly one request. The steps of one kind are its `Action`; everything here is common to
all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog

from customers.connections import circuit_breaker
from customers.connections import commands as connection_commands
from customers.connections.client import background_client, client_for, recorded
from customers.models import Attempt, Connection, Operation
from customers.models.operation_states import PERMISSION_OF_KIND, OperationKind, OperationState
from customers.observed import duplicates
from customers.operations import attempts, conclusions, create_limits, read_back, transitions
from customers.operations.kinds.table import kind_of
from customers.operations.outcomes import Failed, NeedsReview, NotApplied, RetryAt, Send, StepDone, Succeeded
from customers.operations.request import PERFORM
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.leases import LostLease
from portal.providers import (
    Evidence,
    FieldError,
    Forbidden,
    InProgress,
    KeyRefused,
    KeyReused,
    NotSent,
    Provider,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
)
from portal.queue import enqueue_on_commit
from portal.texts import say

log = structlog.get_logger(__name__)
Verdict = TypeVar("Verdict")
Clock = Callable[[], datetime]
AUTH_PAUSE = timedelta(minutes=1)
# Refusals after which an earlier send of the operation may still have worked: checked before it ends.
LAST_WORD_NO = ("rejected", "forbidden", "key_reused")
# Errors that the credential alone may cause. With one that was replaced meanwhile they are no answer to the request.
SAYS_KEY = (Unauthorized, Forbidden)
READINGS_BEFORE_A_PERSON = 20
Outcome = Attempt.Outcome


def perform(
    operation_id: int, *, clock: Clock = database_now, connect: Callable[[Connection], Provider] | None = None
) -> bool:
    """Execute as much of an operation as possible now; return False if there is nothing to do. Safe to call at any time
    and repeatedly. `connect` replaces the client, which in a bulk change leaves people a part of the rate."""
    now = clock()
    operation = transitions.claim(operation_id, now=now) or transitions.claim_for_verification(operation_id, now=now)
    if operation is None:
        return False
    with structlog.contextvars.bound_contextvars(**operation.log_context):
        with recorded() as exchanges:
            try:
                if operation.recovery and operation.state == OperationState.CLAIMED:
                    transitions.assume_all_sent(operation, now=clock())
                else:
                    connect = connect or (background_client if operation.is_bulk else client_for)
                    _work(operation, connect, clock, claimed_at=now)
            except LostLease:
                log.warning("operation.lease_lost")
        circuit_breaker.record_exchanges(operation.connection, exchanges=exchanges, clock=clock)
    return True


def _work(
    operation: Operation, connect: Callable[[Connection], Provider], clock: Clock, *, claimed_at: datetime
) -> None:
    """Take a claimed operation through its limits and reads to the one send, or resolve an unknown one, never by
    sending. What is read first counts as read when the operation was claimed."""
    is_unknown = operation.state == OperationState.UNKNOWN
    if not is_unknown and (stop := _stopped(operation, now=claimed_at)):
        _end_here(operation, stop, now=clock())
        return
    try:
        provider = connect(operation.connection)
        verdict = _unless_replaced(operation, _read(operation, provider, now=claimed_at), clock=clock)
    except DecryptionError as error:
        verdict = _undecided(operation, error, now=clock())
    except ProviderError as error:
        verdict = _verdict_of(operation, error, now=clock())
    match verdict:
        case Send():
            read_back.read_usage_before(operation, provider, clock, claimed_at=claimed_at)
            _send(operation, verdict, provider, clock)
        case Succeeded():
            _succeed(operation, verdict, provider, clock)
        case NotApplied():
            _not_done(operation, verdict, now=clock())
        case RetryAt(until=until, summary=summary) if is_unknown:
            transitions.reschedule_verification(operation, until=until, summary=summary)
        case RetryAt(until=until, summary=summary, error_kind=kind):
            transitions.move(
                operation, OperationState.QUEUED, now=clock(), not_before=until, summary=summary, error_kind=kind
            )
        case Failed() | NeedsReview():
            _end_here(operation, verdict, now=clock())


def _read(
    operation: Operation, provider: Provider, *, now: datetime
) -> Send | Succeeded | NotApplied | RetryAt | Failed | NeedsReview:
    """Return what is read before a send; of an unknown operation a late answer of our own attempt, or what is read
    back."""
    action = kind_of(operation).action
    if operation.state != OperationState.UNKNOWN:
        return action.prepare(operation, provider, now=now)
    late = attempts.late_answer(operation)
    recalled = action.from_late_answer(late.result) if late else None
    return recalled or action.verify(operation, provider, now=now)


def _undecided(operation: Operation, error: DecryptionError, *, now: datetime) -> RetryAt | NeedsReview:
    """Leave an operation whose connection's key does not decrypt for review; but an unknown create stays unknown: put
    back from a review, it would be sent again without proof."""
    if operation.state == OperationState.UNKNOWN and operation.kind == OperationKind.CREATE:
        return RetryAt(transitions.backoff(operation.verifications, now=now), str(error))
    return NeedsReview("poison", str(error), operation.result)


def _send(operation: Operation, go: Send, provider: Provider, clock: Clock) -> None:
    """Commit the intent of a claimed operation, send the change and record the result."""
    attempt = _commit_intent(operation, go, clock)
    if attempt is None:
        return
    with recorded() as exchanges:
        try:
            if clock() >= attempt.intended_at + operation.LEASE:
                raise NotSent(say("send.lease_over"))  # noqa: TRY301 an answer like any other
            answer = go.send()
        except Exception as error:  # noqa: BLE001 bytes may have left: nothing may pass without becoming a state
            _sent_badly(operation, attempt, error, exchanges, clock=clock)
            return
    if not _record_answer(operation, attempt, answer, exchanges, clock):
        return
    if operation.state == OperationState.QUEUED:
        enqueue_on_commit(PERFORM, operation.pk)
    elif operation.state == OperationState.SUCCEEDED:
        is_read = isinstance(answer, Succeeded) and answer.is_read
        read_back.read_after_success(operation, provider, clock, is_read=is_read)


def _commit_intent(operation: Operation, go: Send, clock: Clock) -> Attempt | None:
    """Commit the intent to send. Where that is refused the operation ends or waits, and None is returned."""
    try:
        return transitions.intend(
            operation,
            call=go.call,
            request=go.request,
            body=go.body,
            now=clock(),
            clock_skew=_skew_by(clock, go.clock_skew),
            record_seen=go.record_seen,
        )
    except transitions.ConnectionStopped:
        _record_seen(go)
        summary = say("send.connection_stopped")
        transitions.move(
            operation, OperationState.QUEUED, now=clock(), not_before=clock(), summary=summary, error_kind="paused"
        )
    except transitions.SuspendOnHold as error:
        _record_seen(go)
        verdict = NeedsReview if attempts.has_possible_effect(operation) else Failed
        text = say("hold.not_sent", name=error.hold.owner, why=error.hold.reason.rstrip("."))
        _end_here(operation, verdict("do_not_suspend", text), now=clock())
    except create_limits.CreateStopped as stop:
        _end_here(operation, _stop_of(operation, stop), now=clock())
    return None


def _record_seen(go: Send) -> None:
    """Store what was read before a send that was not intended: the intent's transaction was undone."""
    if go.record_seen:
        go.record_seen()


def _record_answer(
    operation: Operation,
    attempt: Attempt,
    answer: Succeeded | StepDone | Failed,
    exchanges: list[Evidence],
    clock: Clock,
) -> bool:
    """Record a successfully answered send. False where its answer did not decide the operation."""
    now = clock()
    outcome, after, fields = _result_of(answer, now=now)
    evidence = exchanges[0] if exchanges else Evidence()
    return conclusions.conclude(operation, attempt, outcome, after, now=now, evidence=evidence, **fields)


def _skew_by(clock: Clock, skew: float | None) -> int | None:
    """Convert `skew`, measured by this machine's clock, to the clock that all rows are written by."""
    return None if skew is None else round(skew + (datetime.now(UTC) - clock()).total_seconds())


def _result_of(answer: Succeeded | StepDone | Failed, *, now: datetime) -> tuple[str, OperationState, dict[str, Any]]:
    """Return what a successfully answered send means for attempt and operation."""
    match answer:
        case Succeeded():
            fields = {"summary": answer.note, "result": answer.result, "account": answer.account, "also": answer.also}
            return Outcome.APPLIED, OperationState.SUCCEEDED, fields | {"error_kind": ""}
        case StepDone(note=note):
            return Outcome.PREPARED, OperationState.QUEUED, {"summary": note, "not_before": now, "error_kind": ""}
        case Failed():
            fields = {"summary": answer.summary, "result": answer.result, "error_kind": answer.error_kind}
            return Outcome.REJECTED, OperationState.FAILED, fields


def _sent_badly(
    operation: Operation, attempt: Attempt, error: Exception, exchanges: list[Evidence], *, clock: Clock
) -> None:
    """Store the result of a failed send. The first exchange is the change; reads may have followed."""
    now = clock()
    if isinstance(error, Unauthorized):
        connection_commands.pause_for_auth(operation.connection, message=str(error), now=now)
    outcome, after, fields = _outcome_of_error(operation, error, now=now)
    if isinstance(error, SAYS_KEY) and not isinstance(error, KeyRefused) and not operation.connection.is_current():
        after = OperationState.QUEUED
        fields = {"summary": say("connection.edited"), "not_before": now, "error_kind": "paused"}
    evidence = exchanges[0] if exchanges else getattr(error, "evidence", Evidence())
    conclusions.conclude(operation, attempt, outcome, after, evidence=evidence, now=now, **fields)


def _outcome_of_error(
    operation: Operation, error: Exception, *, now: datetime
) -> tuple[str, OperationState, dict[str, Any]]:
    """Turn a failed send into outcome and state. This is the only place; an unforeseen error is an unknown outcome."""
    said: dict[str, Any] = {"summary": str(error)}
    match error:
        case NotSent():
            until = error.retry_at or transitions.backoff(operation.requeues, now=now)
            return Outcome.NOT_SENT, OperationState.QUEUED, said | {"not_before": until, "error_kind": "not_sent"}
        case RateLimited():
            return Outcome.REJECTED, OperationState.QUEUED, said | {"not_before": error.retry_at, "error_kind": "rate"}
        case InProgress():
            until = error.retry_at
            return Outcome.REJECTED, OperationState.QUEUED, said | {"not_before": until, "error_kind": "in_progress"}
        case Unauthorized():
            return (
                Outcome.REJECTED,
                OperationState.QUEUED,
                said | {"not_before": now + AUTH_PAUSE, "error_kind": "paused"},
            )
        case KeyReused():
            reused = {"not_before": now, "error_kind": "key_reused", "result": {"key_reused": True}}
            return Outcome.REJECTED, OperationState.UNKNOWN, said | reused
        case Rejected():
            kind, field_errors = _refusal_of(error)
            said |= {"field_errors": [vars(each) for each in field_errors], "error_kind": kind}
            if _an_earlier_send_may_have_worked(operation):
                return Outcome.REJECTED, OperationState.UNKNOWN, said | {"not_before": now}
            return Outcome.REJECTED, OperationState.FAILED, said
        case ProviderError():
            return Outcome.UNKNOWN, OperationState.UNKNOWN, said | {"not_before": now, "error_kind": "unknown"}
    log.error("operation.unforeseen", exc_info=error)
    said = {"summary": say("send.unforeseen")}
    return Outcome.UNKNOWN, OperationState.UNKNOWN, said | {"not_before": now, "error_kind": "unknown"}


def _refusal_of(error: Rejected) -> tuple[str, tuple[FieldError, ...]]:
    """Return the error kind of a refusal, and the errors to correct. A 403 is about the connection's key or a block of
    it: there is nothing to correct, and sending it again can prolong a block."""
    of_key = isinstance(error, Forbidden) and not isinstance(error, KeyRefused)
    return ("forbidden", ()) if of_key else ("rejected", error.field_errors)


def _an_earlier_send_may_have_worked(operation: Operation) -> bool:
    """Return whether an earlier send may be the reason for a refusal, as with an address that is taken. Its effect is
    searched for, even where it was absent before."""
    return attempts.attempts_unknown(operation).exclude(n=operation.attempt_count).exists()


def _unless_replaced(operation: Operation, verdict: Verdict, *, clock: Clock) -> Verdict | RetryAt:
    """Return the verdict, unless the connection has another address or key since: then it is read again there."""
    if isinstance(verdict, Send | RetryAt) or operation.connection.is_current():  # an intent checks for itself
        return verdict
    return RetryAt(clock(), say("connection.edited"), "paused")


def _not_done(operation: Operation, verdict: NotApplied, *, now: datetime) -> None:
    """Requeue an unknown operation that was not applied; or end it, because the provider refused; or leave it for
    review."""
    said_no = operation.error_kind in LAST_WORD_NO and not verdict.more_to_do
    if said_no and (last := operation.attempts.last()):
        transitions.move(operation, OperationState.FAILED, now=now, summary=last.message)
    elif attempts.count_unsuccessful(operation) < verdict.sends_at_most:
        until = verdict.until or now
        transitions.move(
            operation, OperationState.QUEUED, now=now, not_before=until, summary=verdict.summary, error_kind=""
        )
    else:
        transitions.move(
            operation, OperationState.NEEDS_ATTENTION, now=now, summary=verdict.summary, error_kind="unknown"
        )


def _succeed(operation: Operation, done: Succeeded, provider: Provider, clock: Clock) -> None:
    conclusions.succeed(
        operation, now=clock(), summary=done.note, account=done.account, result=done.result, also=done.also
    )
    if operation.state == OperationState.SUCCEEDED:
        read_back.read_after_success(operation, provider, clock, is_read=done.is_read)


def _end_here(operation: Operation, verdict: Failed | NeedsReview, *, now: datetime) -> None:
    """End as failed, or leave for review. Nothing more is sent before a new request or a decision."""
    fields: dict[str, Any] = {"error_kind": verdict.error_kind, "result": verdict.result}
    if isinstance(verdict, NeedsReview):
        transitions.move(operation, OperationState.NEEDS_ATTENTION, now=now, summary=verdict.summary, **fields)
        return
    fields["field_errors"] = [vars(each) for each in verdict.field_errors]
    transitions.move(operation, OperationState.FAILED, now=now, summary=verdict.summary, **fields)


def _verdict_of(operation: Operation, error: ProviderError, *, now: datetime) -> Failed | RetryAt | NeedsReview:
    """Return the verdict on a failed read while no change was in progress: wait, or fail, which ends only what had no
    effect."""
    text = str(error)
    if isinstance(error, Unauthorized):
        connection_commands.pause_for_auth(operation.connection, message=text, now=now)
    if isinstance(error, Rejected) and not operation.connection.is_current():
        return RetryAt(now, say("connection.edited"), "paused")
    match error:
        case RateLimited():
            return RetryAt(error.retry_at, text, "rate")
        case NotSent() if error.retry_at:
            return RetryAt(error.retry_at, text, "not_sent")
        case Unauthorized():
            return RetryAt(now + AUTH_PAUSE, text, "paused")
        case NotSent() | Unreadable():
            return RetryAt(transitions.backoff(operation.requeues + operation.verifications, now=now), text, "not_sent")
        case Rejected() if operation.state == OperationState.UNKNOWN or attempts.has_possible_effect(operation):
            tries = operation.requeues + operation.verifications
            if tries > READINGS_BEFORE_A_PERSON:
                return NeedsReview("unknown", text)
            return RetryAt(transitions.backoff(tries, now=now), text, "unknown")
        case Rejected():
            kind, field_errors = _refusal_of(error)
            return Failed(kind, text, field_errors=field_errors)
        case _:
            return Failed("rejected", text)


def _stopped(operation: Operation, *, now: datetime) -> Failed | NeedsReview | None:
    """Return what stops an operation before the provider is read: a duplicate, its leader, the permission, the limits
    on creates. What was begun is stopped only for a review."""
    begun = operation.attempt_count > 0 and attempts.has_possible_effect(operation)
    if operation.account.duplicate_of_id is not None:
        return (NeedsReview if begun else Failed)("duplicate", duplicates.refusal(operation.account))
    leader = operation.follows
    if leader is not None and leader.state != OperationState.SUCCEEDED:
        return Failed("leader_failed", say("leader.failed", code=leader.code))
    if refusal := _may_not(operation):
        return (NeedsReview if begun else Failed)("permission", refusal)
    if operation.kind == OperationKind.CREATE and (
        stop := create_limits.stop_of_create(operation, operation.connection, now=now)
    ):
        return _stop_of(operation, stop)
    return None


def _stop_of(operation: Operation, stop: create_limits.CreateStopped) -> Failed | NeedsReview:
    """Turn a limit into a verdict. The budget is free again after an hour, so it needs a review; a paid account that
    may not be created ends here, unless it may exist already."""
    if stop.error_kind == "budget" or attempts.has_possible_effect(operation):
        return NeedsReview(stop.error_kind, str(stop))
    return Failed(stop.error_kind, str(stop))


def _may_not(operation: Operation) -> str:
    """Return why the requester may no longer do this; "" where they may. Checked again when the work starts."""
    person = operation.requested_by
    if not person.is_active:
        return say("requester.disabled")
    if not person.may(PERMISSION_OF_KIND[operation.kind]):
        return say("requester.not_permitted")
    return ""
