"""Suspend and unsuspend an account."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.models import Account, Hold, Operation
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations.outcomes import Failed, NotApplied, RetryAt, Send, Succeeded, with_columns
from customers.operations.request import UnableToAsk, need_reason, permit, request_change
from customers.operations.submissions import submit_once
from portal.access.models import User
from portal.providers import OutcomeUnknown, Provider, ProviderError, ReportedState

READ_BACK_EVERY = timedelta(seconds=5)
READINGS_BEFORE_NOT_DONE = 3


def request_suspend(**asked: Any) -> Operation:
    """Request that the account stops sending. Takes actor, account, reason, client_token, now, request."""
    return request_state(OperationKind.SUSPEND, "stopped_by_us", "account.suspend_asked", **asked)


def request_unsuspend(**asked: Any) -> Operation:
    """Request that the account sends again. Takes actor, account, reason, client_token, now, request."""
    return request_state(OperationKind.UNSUSPEND, "active", "account.unsuspend_asked", **asked)


def request_state(
    kind: OperationKind,
    wanted: str,
    verb: str,
    *,
    actor: User,
    account: Account,
    reason: str,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
    payload: dict[str, Any] | None = None,
    retry_of: Operation | None = None,
    version: int | None = None,
) -> Operation:
    """Request a state. `version`: of the account as the requester saw it, where that is the reason for the request."""
    permit(actor, account.connection, kind)
    need_reason(account.connection, reason, shown=kind == OperationKind.SUSPEND)

    def make() -> Operation:
        account.lock()
        if account.desired_state == wanted and account.state == wanted:
            raise UnableToAsk(_("It is so already. Nothing was sent."))
        if kind == OperationKind.SUSPEND:
            _refuse_held(account, payload or {}, now=now)
        return request_change(
            kind,
            account,
            desire={"desired_state": wanted},
            payload=payload or {},
            version=account.version if version is None else version,
            actor=actor,
            reason=reason,
            client_token=client_token,
            now=now,
            request=request,
            verb=verb,
            retry_of=retry_of,
        )

    return submit_once(
        Operation,
        actor=actor,
        client_token=client_token,
        kind=kind,
        target=account,
        content={"reason": reason, "payload": payload, "retry_of": retry_of},
        now=now,
        make=make,
    )


def _refuse_held(account: Account, payload: dict[str, Any], *, now: datetime) -> None:
    """Refuse a suspend despite a hold, unless the requester was shown that very hold and confirmed it."""
    hold = Hold.objects.of(account.pk, now=now)
    if hold and payload.get("despite_hold") != str(hold.public_id):
        raise UnableToAsk(
            _("%(hold)s. Nothing was sent. To suspend it all the same, confirm that on the account's page.")
            % {"hold": hold.text.rstrip(".")}
        )


@dataclass(frozen=True)
class SuspendOrUnsuspend:
    """Suspend (off) or unsuspend (on). A state that the provider set itself can be lifted by the provider alone."""

    on: bool

    def prepare(self, operation: Operation, provider: Provider, *, now: datetime) -> Send | Succeeded | Failed:
        state = observed_accounts.read_state(account=operation.account, provider=provider, now=now).state
        if state == self._wanted:
            return Succeeded(_("It is so already at the provider."))
        if state in (ReportedState.STOPPED_BY_PROVIDER, ReportedState.BANNED):
            return Failed(
                "held",
                _("%(provider)s stopped this account itself. Only %(provider)s can lift that.")
                % {"provider": operation.account.provider_label},
            )
        return Send("set state", json.dumps({"sending": self.on}), lambda: self._send(operation, provider))

    def _send(self, operation: Operation, provider: Provider) -> Succeeded:
        """Send the change and read the state, which is written with the conclusion: only that knows the moment of the
        answer."""
        account = operation.account
        provider.set_sending(account.ref, on=self.on, reason="" if self.on else operation.reason)
        try:
            reading = provider.state(account.ref)
        except ProviderError:  # the change was answered; the account is read again later
            return with_columns(self.from_late_answer({}), state=self._wanted, state_raw="")
        if reading.state != self._wanted:
            raise OutcomeUnknown(
                _("%(provider)s accepted the change, but still says %(state)s.")
                % {"provider": account.provider_label, "state": reading.raw},
            )
        return with_columns(self.from_late_answer({}), state=reading.state, state_raw=reading.raw[:60])

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied | RetryAt:
        if observed_accounts.read_state(account=operation.account, provider=provider, now=now).state == self._wanted:
            return self.from_late_answer({})
        if operation.verifications < READINGS_BEFORE_NOT_DONE:
            return RetryAt(now + READ_BACK_EVERY, _("Read back: not so yet. Looking again."))
        return NotApplied(_("Read back three times: the state did not change."))

    def from_late_answer(self, result: dict[str, Any]) -> Succeeded:
        text = _("Unsuspended") if self.on else _("Suspended")
        return Succeeded(text + ".", {"changed_what": text})

    @property
    def _wanted(self) -> ReportedState:
        return ReportedState.ACTIVE if self.on else ReportedState.STOPPED_BY_US
