"""Record the result of a send or a verification: attempt, account and state, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from customers.models import Account, Attempt, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationState
from customers.operations import transitions
from portal.failpoints import crash_point
from portal.providers import Evidence


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
        "message": summary[:500],
        "result": result or {},
        "answered_at": now,
    }
    if evidence.request_body:
        answer["request"] = evidence.request_body
    unanswered = Attempt.objects.filter(pk=attempt.pk, outcome="")
    before = operation.state
    if result:
        fields["result"] = result
    try:
        try:
            with transaction.atomic():
                unanswered.update(**answer)
                transitions.move(operation, after, now=now, summary=summary, **fields)
                _write_account(operation, account, now=now)
                if also:
                    also(now)
                crash_point("in_result")
        except AccountTaken:
            operation.state = before
            with transaction.atomic():
                unanswered.update(**answer)
                transitions.move(operation, OperationState.UNKNOWN, now=now, summary=summary, **fields)
                _leave_for_review(operation, account, now=now)
                if also:
                    also(now)
            return False
    except transitions.LostLease:
        with transaction.atomic():
            if unanswered.update(**answer) and also:
                also(now)
        return False
    return True


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
    before = operation.state
    try:
        with transaction.atomic():
            transitions.move(
                operation, OperationState.SUCCEEDED, now=now, summary=summary, by=by, error_kind="", **fields
            )
            _write_account(operation, account, now=now)
            if also:
                also(now)
            crash_point("in_settled")
    except AccountTaken:
        operation.state = before
        if by is not None:
            raise
        with transaction.atomic():
            _leave_for_review(operation, account, now=now, **fields)
            if also:
                also(now)


def _write_account(operation: Operation, account: dict[str, Any] | None, *, now: datetime) -> None:
    if not account:
        return
    try:
        with transaction.atomic():
            columns = account | {"changed_at": now} | observed(account, now=now)
            Account.objects.filter(pk=operation.account_id).update(**columns)
    except IntegrityError:
        raise AccountTaken(str(account.get("provider_id", ""))) from None


def observed(columns: dict[str, Any], *, now: datetime) -> dict[str, datetime]:
    """Return the read times of observed `columns`: what an operation or a user concluded counts as read now.

    A state that is not known yet has none, so that it is read soon.
    """
    known = {name for name in columns if columns[name] != AccountState.UNKNOWN}
    return {f"{name}_read_at": now for name in ("state", "offerings", "settings") if name in known}


def _leave_for_review(operation: Operation, account: dict[str, Any] | None, *, now: datetime, **fields: Any) -> None:
    """Leave the operation for review: the account exists at the provider and is not written here, so nothing more is
    sent."""
    provider_id = str((account or {}).get("provider_id", ""))
    owner = Account.objects.filter(
        provider_kind=operation.connection.kind, provider_id=provider_id, duplicate_of=None
    ).select_related("customer").first()  # fmt: skip
    summary = _("Account %(id)s already belongs to %(customer)s. Review which customer it belongs to.") % {
        "id": provider_id, "customer": owner.customer if owner else _("another customer"),
    }  # fmt: skip
    transitions.move(
        operation, OperationState.NEEDS_ATTENTION, now=now, summary=summary, error_kind="account_taken", **fields
    )
