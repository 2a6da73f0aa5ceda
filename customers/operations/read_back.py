"""Readings of an account around the change of an operation. None of them decides about the operation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from customers.models import Account, Operation, UsageReading
from customers.models.operation_states import USAGE_IS_READ_AFTER, OperationKind
from customers.observed import accounts as observed_accounts
from customers.observed import usage_readings
from customers.operations.kinds.table import kind_of
from portal.providers import Provider, ProviderError

log = structlog.get_logger(__name__)
Clock = Callable[[], datetime]


def read_usage_before(operation: Operation, provider: Provider, clock: Clock) -> None:
    """Read the usage just before the operation's change, where it is read after it too; a new account has none."""
    if operation.kind in USAGE_IS_READ_AFTER and operation.kind != OperationKind.CREATE:
        usage_readings.read_around(operation, operation.account, provider, UsageReading.Moment.BEFORE, now=clock())


def read_after_success(operation: Operation, provider: Provider, clock: Clock) -> None:
    """Read the account, and its usage where the kind says so, after a success. A failure here does not change the
    success: the account is read again later."""
    if operation.kind == OperationKind.DELETE:
        return
    account = Account.objects.select_related("connection", "customer").get(pk=operation.account_id)
    try:
        if kind_of(operation).is_about_keys:
            observed_accounts.read_keys(account=account, now=clock(), provider=provider)
        else:
            observed_accounts.read_account(account=account, now=clock(), provider=provider, operation=operation)
    except ProviderError as error:
        log.info("account.not_read", error=type(error).__name__)
    if operation.kind in USAGE_IS_READ_AFTER:
        account.refresh_from_db(fields=["v2_username"])  # of a new account it was read just now
        usage_readings.read_around(operation, account, provider, UsageReading.Moment.AFTER, now=clock())
