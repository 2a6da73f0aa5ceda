"""Suspend and unsuspend an account."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Account, Hold, Operation
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import bulk_limit
from customers.operations.outcomes import Action, Failed, NotApplied, RetryAt, Send, Succeeded, with_columns
from customers.operations.request import need_reason, permit, request_change
from customers.operations.submissions import submit_once
from portal.commands import Command
from portal.providers import OutcomeUnknown, Provider, ProviderError, ReportedState
from portal.refusals import Refusal
from portal.texts import say

READ_BACK_EVERY = timedelta(seconds=5)
READINGS_BEFORE_NOT_DONE = 3


def request_suspend(command: Command, *, account: Account, within_limit: bool = False, **more: Any) -> Operation:
    """Request that the account stops sending. Refused beyond the limit of the rule for bulk changes, unless the caller
    checked that (`within_limit`). `more`: as of `request_state`."""
    return request_state(
        command, OperationKind.SUSPEND, "stopped_by_us", account=account, is_limited=not within_limit, **more
    )


def request_unsuspend(command: Command, *, account: Account, **more: Any) -> Operation:
    """Request that the account sends again. `more`: as of `request_state`."""
    return request_state(command, OperationKind.UNSUSPEND, "active", account=account, **more)


def request_state(
    command: Command,
    kind: OperationKind,
    wanted: str,
    *,
    account: Account,
    payload: dict[str, Any] | None = None,
    version: int | None = None,
    is_limited: bool = False,
) -> Operation:
    """Request a state. `version`: of the account as the requester saw it, where that is the reason for the request."""
    permit(command.person, account.connection, kind)
    need_reason(account.connection, command.reason, shown=kind == OperationKind.SUSPEND)

    def make() -> Operation:
        if is_limited:
            bulk_limit.refuse_suspend(command, account)
        account.lock()
        if account.desired_state == wanted and account.state == wanted:
            raise Refusal(_("The account is already in this state. Nothing was sent."))
        if kind == OperationKind.SUSPEND:
            _refuse_held(account, payload or {}, now=command.now)
        return request_change(
            command,
            kind,
            account,
            desire={"desired_state": wanted},
            payload=payload or {},
            version=account.version if version is None else version,
            verb=f"account.{kind}_asked",
        )

    return submit_once(
        command,
        Operation,
        kind=kind,
        target=account,
        content={"payload": payload},
        make=make,
    )


def _refuse_held(account: Account, payload: dict[str, Any], *, now: datetime) -> None:
    """Refuse a suspend despite a hold, unless the requester was shown that very hold and confirmed it."""
    hold = Hold.objects.of(account.pk, now=now)
    if hold and payload.get("despite_hold") != str(hold.public_id):
        raise Refusal(
            _("%(hold)s. Nothing was sent. To suspend the account anyway, confirm on its page.")
            % {"hold": hold.text.rstrip(".")}
        )


@dataclass(frozen=True)
class SuspendOrUnsuspend(Action):
    """Suspend (off) or unsuspend (on). A state that the provider set itself can be lifted by the provider alone."""

    on: bool

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        seen = observed_accounts.see_state(account=operation.account, provider=provider, now=now)
        if seen.value.state == self._wanted:
            seen.record()
            return Succeeded(say("already_so"), is_read=True)
        if seen.value.state in (ReportedState.STOPPED_BY_PROVIDER, ReportedState.BANNED):
            seen.record()
            return Failed("held", say("state.held", provider=operation.account.provider_label))
        request = json.dumps({"sending": self.on})
        return Send("set state", request, lambda: self._send(operation, provider), record_seen=seen.record)

    def _send(self, operation: Operation, provider: Provider) -> Succeeded:
        """Send the change and read the state, which is written with the conclusion: only that knows the moment of the
        answer."""
        account = operation.account
        provider.set_sending(account.ref, on=self.on, reason="" if self.on else operation.reason)
        try:
            reading = provider.state(account.ref)
        except ProviderError:  # the change was answered; the account is read again later
            return replace(with_columns(self.from_late_answer({}), state=self._wanted, state_raw=""), is_read=False)
        if reading.state != self._wanted:
            raise OutcomeUnknown(say("state.still", provider=account.provider_label, state=reading.raw))
        return with_columns(self.from_late_answer({}), **observed_accounts.columns_of_state(reading))

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | RetryAt:
        reading = observed_accounts.read_state(
            account=operation.account, provider=provider, now=now, operation=operation
        )
        if reading.state == self._wanted:
            return with_columns(self.from_late_answer({}))
        if operation.verifications < READINGS_BEFORE_NOT_DONE:
            return RetryAt(now + READ_BACK_EVERY, say("state.not_yet"))
        return NotApplied(say("state.unchanged"))

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        if self.on:
            return Succeeded(say("state.unsuspended"), {"changed_what": _("Unsuspended")})
        return Succeeded(say("state.suspended"), {"changed_what": _("Suspended")})

    @property
    def _wanted(self) -> ReportedState:
        return ReportedState.ACTIVE if self.on else ReportedState.STOPPED_BY_US
