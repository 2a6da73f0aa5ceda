"""Delete an account permanently, after its last usage was read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from customers.models import Account, KeySecret, Operation, UsageReading
from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.observed import usage_readings
from customers.operations import key_secrets
from customers.operations.kinds.suspend import request_state
from customers.operations.outcomes import Action, Failed, NotApplied, RetryAt, Send, Succeeded
from portal.commands import Command
from portal.providers import (
    NotFound,
    NotSent,
    Provider,
    ProviderError,
    RateLimited,
    ReportedState,
    Unauthorized,
    UsageSource,
)
from portal.texts import say

READING_TRIES = 3


def request_delete(command: Command, *, account: Account, without_reading: bool = False, **more: Any) -> Operation:
    """Request to delete an account permanently. `without_reading` continues where the last usage can't be read."""
    payload = {"without_reading": without_reading}
    return request_state(command, OperationKind.DELETE, "deleted", account=account, payload=payload, **more)


class Delete(Action):
    """Delete an account permanently. The last usage is read and stored first, because it can't be read afterwards."""

    def prepare(
        self, operation: Operation, provider: Provider, *, now: datetime
    ) -> Send | Succeeded | RetryAt | Failed:
        try:
            seen = observed_accounts.see_state(account=operation.account, provider=provider, now=now)
        except NotFound:
            return self._deleted(operation, gone_before=True)
        go = self._go(operation, provider, record_seen=seen.record)
        try:
            self._keep_last_usage(operation, provider, now)
        except ProviderError as error:
            later = isinstance(error, RateLimited | Unauthorized)
            if operation.payload.get("without_reading") and not later:
                return go
            seen.record()
            if later:
                raise
            if isinstance(error, NotSent) or operation.requeues < READING_TRIES:
                wait = timedelta(seconds=2 ** min(operation.requeues + 1, 8))
                return RetryAt(now + wait, say("delete.usage_unread_yet", why=error), "no_reading")
            return Failed("no_reading", say("delete.usage_unread"))
        return go

    def _go(self, operation: Operation, provider: Provider, *, record_seen: Callable[[], bool]) -> Send:
        def send() -> Succeeded:
            try:
                provider.delete_account(operation.account.ref)
            except NotFound:
                return self._deleted(operation, gone_before=True)
            return self._deleted(operation)

        return Send("delete account", "", send, record_seen=record_seen)

    def verify(self, operation: Operation, provider: Provider, *, now: datetime) -> Succeeded | NotApplied:
        try:
            observed_accounts.read_state(account=operation.account, provider=provider, now=now)
        except NotFound:
            return self._deleted(operation)
        return NotApplied(say("delete.not_deleted"))

    def _deleted(self, operation: Operation, *, gone_before: bool = False) -> Succeeded:
        note = say("already_gone") if gone_before else say("delete.done")
        columns = {"state": ReportedState.DELETED, "changed_what": _("Deleted")}
        return Succeeded(note, columns, {"gone_before": True} if gone_before else {}, _all_gone(operation.account_id))

    def _keep_last_usage(self, operation: Operation, provider: Provider, now: datetime) -> None:
        usage = provider.usage(operation.account.ref, UsageSource(operation.connection.usage_source))
        usage_readings.store_usage(
            operation.account, usage, moment=UsageReading.Moment.FINAL, now=now, operation=operation
        )


def _all_gone(account_id: int) -> Callable[[datetime], None]:
    def write(now: datetime) -> None:
        observed_accounts.record_all_gone(account_id=account_id, now=now)
        for row in KeySecret.objects.filter(account=account_id).exclude(sealed=""):
            key_secrets.forget_key(account_id=account_id, key_id=row.key_id)

    return write
