"""Record the result of a send or a verification: attempt, account and state, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from customers.models import Account, AccountSpan, Attempt, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationState
from customers.observed import spans, usage_readings
from customers.operations import transitions
from portal import metrics
from portal.leases import LostLease
from portal.providers import Evidence
from portal.texts import say


class AccountTaken(Exception):
    """Another account has the provider ID that the operation's account was to get; nothing was written."""


def conclude(
    operation: Operation,
    attempt: Attempt,
    outcome: str,
    after: OperationState,
    *,
    evidence: Evidence,
    now: datetime,
    summary: str = "",
    result: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
    also: Callable[[datetime], None] | None = None,
    **fields: Any,
) -> bool:
    """Write the result of a send and move the operation, in one transaction. False when the lease was lost meanwhile:
    then the answer is stored on the attempt alone, where the operation's new worker finds it. `also` writes what came
    with the answer, in either case. Where another account has the provider ID already the answer is stored too, the
    operation needs review, and False is returned."""
    answer = {
        "outcome": outcome,
        "status": evidence.status,
        "provider_request_id": evidence.request_id[:120],
        "duration_ms": evidence.duration_ms,
        "response": evidence.response_body,
        "message": summary,
        "result": result or {},
        "answered_at": now,
    }
    if evidence.request_body:
        answer["request"] = evidence.request_body
    unanswered = Attempt.objects.filter(pk=attempt.pk, outcome="")
    if result:
        fields["result"] = result
    try:
        with transaction.atomic():
            _store_answer(unanswered, operation, answer)
            return _write(operation, after, account, also, now=now, summary=summary, **fields)
    except LostLease:
        with transaction.atomic():
            if _store_answer(unanswered, operation, answer) and also:
                also(now)
        return False


def _store_answer(unanswered: QuerySet[Attempt], operation: Operation, answer: dict[str, Any]) -> bool:
    """Write the answer on its attempt, and count it once that is committed. False where it has one already."""
    stored = unanswered.update(**answer) == 1
    if stored:
        transaction.on_commit(metrics.ATTEMPTS.labels(operation.kind, answer["outcome"]).inc)
    return stored


def succeed(
    operation: Operation,
    *,
    now: datetime,
    summary: str,
    account: dict[str, Any],
    result: dict[str, Any],
    also: Callable[[datetime], None] | None = None,
    by: Any = None,
) -> None:
    """Conclude without a send: it was applied already, was read back, or staff linked it.

    Where another account has the provider ID already the operation needs review; a manual link (`by`) gets
    `AccountTaken` instead.
    """
    fields: dict[str, Any] = {"result": result} if result else {}
    with transaction.atomic():
        _write(
            operation,
            OperationState.SUCCEEDED,
            account,
            also,
            now=now,
            summary=summary,
            by=by,
            error_kind="",
            **fields,
        )


def _write(
    operation: Operation,
    after: OperationState,
    account: dict[str, Any] | None,
    also: Callable[[datetime], None] | None,
    *,
    now: datetime,
    by: Any = None,
    **fields: Any,
) -> bool:
    """Move the operation and write its account, inside the caller's transaction. Where another account has the provider
    ID already nothing of that is written, the operation needs review instead, and False is returned."""
    before = operation.state
    written = True
    try:
        # An identifier alone can be another account's: then what was written until here is undone.
        with transaction.atomic(savepoint=bool(account and "provider_id" in account)):
            transitions.move(operation, after, now=now, by=by, savepoint=False, **fields)
            _write_account(operation, account, now=now)
    except AccountTaken:
        operation.refresh_from_db(fields=["requeues", "lost_claims", "finished_at", "unknown_at", "summary"])
        operation.state, operation.last_step = before, None
        if by is not None:
            raise
        _leave_for_review(operation, account, now=now, **fields)
        written = False
    if also:
        also(now)
    return written


def _write_account(operation: Operation, account: dict[str, Any] | None, *, now: datetime) -> None:
    if not account:
        return
    columns = account | {"changed_at": now} | observed(account, now=now) | usage_readings.due_after(operation, now=now)
    before = None if "provider_id" in account else spans.update_known(operation.account, columns)
    if before is None:
        row = Account.objects.filter(pk=operation.account_id)
        before = spans.hold(row) if columns.keys() & set(AccountSpan.Kind) else None
        try:
            row.update(**columns)
        except IntegrityError:
            raise AccountTaken(str(account.get("provider_id", ""))) from None
    if before:
        spans.record_concluded(before, columns, now=now, source=AccountSpan.Source.OPERATION, operation=operation)


def observed(columns: dict[str, Any], *, now: datetime) -> dict[str, datetime]:
    """Return the read times of observed `columns`: what an operation or a user concluded counts as read now.

    A state that is not known yet has none, so that it is read soon.
    """
    known = {name for name in columns if columns[name] != AccountState.UNKNOWN}
    return {f"{name}_read_at": now for name in ("state", "offerings", "settings") if name in known}


def _leave_for_review(operation: Operation, account: dict[str, Any] | None, *, now: datetime, **fields: Any) -> None:
    """Leave the operation for review: the account exists at the provider and is not written here, so nothing more is
    sent."""
    if operation.state == OperationState.SENDING:
        transitions.move(operation, OperationState.UNKNOWN, now=now, **fields)
    provider_id = str((account or {}).get("provider_id", ""))
    owner = (
        Account.objects.filter(provider_kind=operation.connection.kind, provider_id=provider_id, duplicate_of=None)
        .select_related("customer")
        .first()
    )
    summary = say("account.taken_elsewhere", id=provider_id)
    if owner:
        summary = say("account.taken", id=provider_id, customer=owner.customer)
    fields |= {"summary": summary, "error_kind": "account_taken"}
    transitions.move(operation, OperationState.NEEDS_ATTENTION, now=now, **fields)
