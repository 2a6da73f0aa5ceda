"""Performs one operation against its provider. Read it beside the table in `customers.states`.

    queued --claim--> claimed --(reads)--> intent committed = sending --(one change)--> what came of it
    unknown --hold--> (reads back) --> succeeded | failed | queued | still unknown

Everything slow or failing early happens in `claimed`, where stopping is free. Between the committed intent and the
recorded answer stands exactly one request. What an operation does is its `Action`; everything here is common to all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.utils import timezone
from django.utils.translation import gettext as _

from customers import connecting, engine, observations
from customers.actions import ACTIONS, Action, Done, Go, NotDone, Refuse, Wait
from customers.clients import client_for, recorded
from customers.crash import crash_point
from customers.models import Account, Attempt, Connection, Operation
from customers.states import ROUTE_OF_KIND, OperationKind, OperationState
from portal.access.permissions import allowed
from portal.providers import (
    Evidence,
    NotSent,
    Provider,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
)
from portal.vault import CannotOpen

log = structlog.get_logger(__name__)
S = OperationState
Clock = Callable[[], datetime]
SENDS_BEFORE_A_PERSON = 3
AUTH_PAUSE = timedelta(minutes=1)


def perform(
    operation_id: int, *, clock: Clock = timezone.now, connect: Callable[[Connection], Provider] = client_for
) -> None:
    """Take an operation as far as it goes now. Safe to call at any time, any number of times, from anywhere."""
    if operation := engine.claim(operation_id, now=clock()):
        task = _run
    elif operation := engine.hold(operation_id, now=clock()):
        task = _settle
    else:
        return
    with structlog.contextvars.bound_contextvars(operation=operation.code, kind=operation.kind):
        crash_point("after_claim")
        try:
            task(operation, ACTIONS[OperationKind(operation.kind)], connect, clock)
        except engine.LostLease:
            log.warning("operation.lease_lost")


def _run(operation: Operation, action: Action, connect: Callable[[Connection], Provider], clock: Clock) -> None:
    """claimed -> ... : brakes, reads, then the one send."""
    if refusal := _may_not(operation):
        engine.move(operation, S.FAILED, now=clock(), summary=refusal, error_kind="permission")
        return
    if operation.kind == OperationKind.CREATE and engine.over_create_budget(operation, now=clock()):
        engine.move(
            operation,
            S.NEEDS_ATTENTION,
            now=clock(),
            error_kind="budget",
            summary=_("This connection reached its budget of creates for an hour. Nothing was sent."),
        )
        return
    try:
        provider = connect(operation.connection)
        verdict = action.before(operation, provider, now=clock())
    except CannotOpen as error:
        engine.move(operation, S.NEEDS_ATTENTION, now=clock(), summary=str(error), error_kind="poison")
        return
    except ProviderError as error:
        verdict = _verdict_of(operation, error, now=clock())
    match verdict:
        case Go():
            _send(operation, action, provider, clock)
        case Done(note=note, account=account):
            _succeed(operation, note, account, provider, clock)
        case Wait(until=until, summary=summary, error_kind=kind):
            engine.move(operation, S.QUEUED, now=clock(), not_before=until, summary=summary, error_kind=kind)
        case Refuse():
            _fail(operation, verdict, now=clock())


def _send(operation: Operation, action: Action, provider: Provider, clock: Clock) -> None:
    """claimed -> sending -> what came of it."""
    crash_point("before_intent")
    attempt = engine.intend(operation, call=action.call(operation), request=action.request(operation), now=clock())
    crash_point("after_intent")
    with recorded() as exchanges:
        try:
            done = action.send(operation, provider)
        except Exception as error:  # noqa: BLE001 bytes may have left: nothing may pass without becoming a state
            _sent_badly(operation, attempt, error, clock=clock)
            return
    crash_point("after_answer")
    engine.conclude(
        operation,
        attempt,
        Attempt.Outcome.APPLIED,
        S.SUCCEEDED,
        now=clock(),
        summary=done.note,
        result=done.result,
        account=done.account,
        evidence=exchanges[-1] if exchanges else Evidence(),
        error_kind="",
    )
    crash_point("after_result")
    _read_back(operation, provider, clock)


def _sent_badly(operation: Operation, attempt: Attempt, error: Exception, *, clock: Clock) -> None:
    """Keep what came of a send that did not simply work."""
    now = clock()
    if isinstance(error, Unauthorized):
        connecting.pause_for_auth(connection_id=operation.connection_id, message=str(error), now=now)
    outcome, after, fields = _meaning(operation, error, now=now)
    evidence = error.evidence if isinstance(error, ProviderError) else Evidence()
    engine.conclude(operation, attempt, outcome, after, evidence=evidence, now=now, **fields)


def _meaning(operation: Operation, error: Exception, *, now: datetime) -> tuple[str, OperationState, dict[str, Any]]:
    """The one place that turns a failed send into outcome and state. What we did not foresee is an unknown outcome."""
    outcome = Attempt.Outcome
    said: dict[str, Any] = {"summary": str(error)}
    match error:
        case NotSent():
            until = error.retry_at or engine.backoff(operation.tries, now=now)
            return outcome.NOT_SENT, S.QUEUED, said | {"not_before": until, "error_kind": "not_sent"}
        case RateLimited():
            return outcome.REJECTED, S.QUEUED, said | {"not_before": error.retry_at, "error_kind": "rate"}
        case Unauthorized():
            return outcome.REJECTED, S.QUEUED, said | {"not_before": now + AUTH_PAUSE, "error_kind": "paused"}
        case Rejected():
            fields = [vars(each) for each in error.field_errors]
            return outcome.REJECTED, S.FAILED, said | {"field_errors": fields, "error_kind": "rejected"}
        case ProviderError():
            return outcome.UNKNOWN, S.UNKNOWN, said | {"not_before": now, "error_kind": "unknown"}
    log.error("operation.unforeseen", exc_info=error)
    said = {"summary": _("Something failed here while the request was under way.")}
    return outcome.UNKNOWN, S.UNKNOWN, said | {"not_before": now, "error_kind": "unknown"}


def _settle(operation: Operation, action: Action, connect: Callable[[Connection], Provider], clock: Clock) -> None:
    """unknown -> what became of it, by a late answer of our own attempt or by reading back. Never by sending."""
    late = operation.attempts.filter(outcome=Attempt.Outcome.APPLIED).order_by("-n").first()
    try:
        provider = connect(operation.connection)
        verdict = action.recall(late.result) if late else action.after(operation, provider, now=clock())
    except CannotOpen as error:
        engine.move(operation, S.NEEDS_ATTENTION, now=clock(), summary=str(error), error_kind="poison")
        return
    except ProviderError as error:
        verdict = _verdict_of(operation, error, now=clock())
    match verdict:
        case Done(note=note, account=account, result=result):
            _succeed(operation, note, account, provider, clock, result=result)
        case Refuse():
            _fail(operation, verdict, now=clock())
        case NotDone(summary=summary) if operation.sends < SENDS_BEFORE_A_PERSON:
            engine.move(operation, S.QUEUED, now=clock(), not_before=clock(), summary=summary, error_kind="")
        case NotDone(summary=summary):
            engine.move(operation, S.NEEDS_ATTENTION, now=clock(), summary=summary, error_kind="unknown")
        case Wait(until=until, summary=summary):
            engine.rest(operation, until=until, summary=summary)


def _succeed(
    operation: Operation,
    note: str,
    account: dict[str, object],
    provider: Provider,
    clock: Clock,
    *,
    result: dict[str, object] | None = None,
) -> None:
    engine.succeed(operation, now=clock(), summary=note, account=account, result=result or {})
    _read_back(operation, provider, clock)


def _fail(operation: Operation, verdict: Refuse, *, now: datetime) -> None:
    engine.move(
        operation, S.FAILED, now=now, summary=verdict.summary, error_kind=verdict.error_kind, result=verdict.result
    )


def _read_back(operation: Operation, provider: Provider, clock: Clock) -> None:
    """Look at the account after a success. Failing here changes nothing about that: it is looked at again later."""
    if operation.kind == OperationKind.DELETE:
        return
    account = Account.objects.select_related("connection", "customer").get(pk=operation.account_id)
    try:
        observations.read_account(account=account, now=clock(), provider=provider)
    except ProviderError as error:
        log.info("account.not_read", error=type(error).__name__)


def _verdict_of(operation: Operation, error: ProviderError, *, now: datetime) -> Refuse | Wait:
    """A read failed while nothing of ours was under way: wait, or say no."""
    text = str(error)
    match error:
        case RateLimited():
            return Wait(error.retry_at, text, "rate")
        case NotSent() if error.retry_at:
            return Wait(error.retry_at, text, "not_sent")
        case Unauthorized():
            connecting.pause_for_auth(connection_id=operation.connection_id, message=text, now=now)
            return Wait(now + AUTH_PAUSE, text, "paused")
        case NotSent() | Unreadable():
            return Wait(engine.backoff(operation.tries + operation.settles, now=now), text, "not_sent")
        case Rejected() if operation.state == S.UNKNOWN:
            return Wait(engine.backoff(operation.settles, now=now), text, "unknown")
        case _:
            return Refuse("rejected", text)


def _may_not(operation: Operation) -> str:
    """The right to ask is looked at again when the work starts."""
    person = operation.requested_by
    if not person.is_active:
        return _("The person who asked is disabled by now. Nothing was sent.")
    if not allowed(person.role, ROUTE_OF_KIND[OperationKind(operation.kind)], "POST"):
        return _("The role of the person who asked may not do this any more. Nothing was sent.")
    return ""
