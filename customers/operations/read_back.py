"""Readings of an account around the change of an operation. None of them decides about the operation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from customers.connections.commands import record_contact
from customers.models import Account, Operation
from customers.models.operation_states import USAGE_IS_READ_AFTER, OperationKind
from customers.observed import accounts as observed_accounts
from customers.observed import usage_readings
from customers.operations.kinds.table import kind_of
from portal.providers import Provider, ProviderError
from portal.queue import enqueue_on_commit

log = structlog.get_logger(__name__)
Clock = Callable[[], datetime]


def read_usage_before(operation: Operation, provider: Provider, clock: Clock, *, claimed_at: datetime) -> None:
    """Read the usage just before the operation's change, where the reading after it could lack some."""
    if usage_readings.is_read_before(operation, now=claimed_at):
        usage_readings.read_before(operation, provider, now=clock())


def read_after_success(operation: Operation, provider: Provider, clock: Clock, *, is_read: bool = False) -> None:
    """Read the account after a success, unless what the success rests on read it (`is_read`). A failure here does not
    change the success: the account is read again later. Usage is due since the success, and a task of its own reads
    it."""
    if operation.kind == OperationKind.DELETE:
        return
    if is_read and operation.finished_at:
        record_contact(operation.connection, now=operation.finished_at)
    else:
        _read_account(operation, provider, clock)
    if operation.kind in USAGE_IS_READ_AFTER:  # after the account's v2 username, which a source may need, was read
        enqueue_on_commit(usage_readings.READ_USAGE, operation.account_id)


def _read_account(operation: Operation, provider: Provider, clock: Clock) -> None:
    account = Account.objects.select_related("connection", "customer").get(pk=operation.account_id)
    try:
        if kind_of(operation).is_about_keys:
            observed_accounts.read_keys(account=account, now=clock(), provider=provider)
        else:
            observed_accounts.read_account(account=account, now=clock(), provider=provider, operation=operation)
    except ProviderError as error:
        log.info("account.not_read", error=type(error).__name__)
