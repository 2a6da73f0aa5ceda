"""Usage read around changes of accounts, stored for billing: before and after a change of ours, before a delete, and
soon after a change that was noticed.

Credits tell of the current billing period alone, so what was used under the old package or state can't be read later.
A pooled report covers all accounts and is read only before a delete.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta

import structlog
from django.db.models import Q, QuerySet

from customers.models import Account, Operation, UsageReading
from customers.models.account import NOT_THERE, AccountState
from customers.models.breaker import at_work
from customers.models.operation_states import USAGE_IS_READ_AFTER
from portal.providers import (
    Provider,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unsupported,
    Usage,
    UsageSource,
)
from portal.texts import say

log = structlog.get_logger(__name__)

# A reading beside an operation takes no longer than this, and is not retried.
SECONDS = 10.0
# When usage is due after a change of ours, which reads it itself before that unless its worker stops.
DUE_AFTER_CHANGE = timedelta(minutes=1)
# When a due reading is tried again after a failure that may pass.
RETRY_AFTER = timedelta(minutes=10)
LATE_AFTER = timedelta(hours=36)


def read_around(
    operation: Operation, account: Account, provider: Provider, moment: UsageReading.Moment, *, now: datetime
) -> None:
    """Read and store the usage before or after the operation's change, in one try. A failure is stored instead and
    changes nothing about the operation. After a change usage is due (`due_after`) until it was read; it stays due after
    a failure that may pass."""
    if _is_pooled(account):
        return
    if not _may_read(account):
        store_failure(account, say("usage.not_permitted"), moment=moment, now=now, operation=operation)
        _end_due(account, now=now)
        return
    try:
        usage = provider.usage(account.ref, _source_of(account), seconds=SECONDS)
    except ProviderError as error:
        store_failure(account, str(error), moment=moment, now=now, operation=operation)
        if _may_pass(error):
            return
    else:
        store_usage(account, usage, moment=moment, now=now, operation=operation)
    _end_due(account, now=now)


def due_after(operation: Operation, *, now: datetime) -> dict[str, datetime]:
    """Return the column that makes usage due after the operation's success, for the transaction that records it: a
    worker that stops before its reading leaves it to the next one."""
    if operation.kind not in USAGE_IS_READ_AFTER or operation.connection.usage_source == UsageSource.POOLED:
        return {}
    return {"usage_due_at": now + DUE_AFTER_CHANGE}


def _end_due(account: Account, *, now: datetime) -> None:
    """Record that usage is no longer due, unless it became due after `account` was loaded and after `now`."""
    as_loaded = Q(usage_due_at=account.usage_due_at) if account.usage_due_at else Q()
    due = Account.objects.filter(Q(usage_due_at__lte=now) | as_loaded, pk=account.pk)
    due.update(usage_due_at=None)


def store_usage(
    account: Account, usage: Usage, *, moment: UsageReading.Moment, now: datetime, operation: Operation | None
) -> None:
    """Store usage as the provider returned it; `now` is the time of the request."""
    UsageReading.objects.create(
        operation=operation,
        account=account,
        moment=moment,
        source=usage.source,
        taken_at=now,
        usage=json.loads(json.dumps(asdict(usage), default=str)),
    )


def store_failure(
    account: Account, failure: str, *, moment: UsageReading.Moment, now: datetime, operation: Operation | None
) -> None:
    """Store that usage could not be read, and why."""
    log.info("usage.not_read", account=str(account.public_id), moment=str(moment))
    UsageReading.objects.create(
        operation=operation,
        account=account,
        moment=moment,
        source=_source_of(account),
        taken_at=now,
        failure=failure,
    )


def accounts_with_usage_due(*, now: datetime) -> QuerySet[Account]:
    """Return the accounts whose usage is due because a change was noticed, the oldest first."""
    return (
        Account.objects.filter(
            at_work("connection__"), usage_due_at__lte=now, provider_id__isnull=False, duplicate_of=None
        )
        .exclude(connection__usage_source=UsageSource.POOLED)
        .exclude(state=AccountState.DELETED)
        .order_by("usage_due_at")
    )


def read_due_usage(account: Account, provider: Provider, *, now: datetime) -> None:
    """Read the usage that is due and store it. Whoever moves the due time reads; after a failure that may pass it
    stays due, after any other the failure is stored."""
    later = now + RETRY_AFTER
    if not Account.objects.filter(pk=account.pk, usage_due_at=account.usage_due_at).update(usage_due_at=later):
        return
    moment = UsageReading.Moment.NOTICED
    try:
        usage = provider.usage(account.ref, _source_of(account))
    except ProviderError as error:
        if _may_pass(error):
            return
        store_failure(account, str(error), moment=moment, now=now, operation=None)
    else:
        store_usage(account, usage, moment=moment, now=now, operation=None)
    Account.objects.filter(pk=account.pk, usage_due_at=later).update(usage_due_at=None)


def _is_pooled(account: Account) -> bool:
    return account.connection.usage_source == UsageSource.POOLED


def _source_of(account: Account) -> UsageSource:
    return UsageSource(account.connection.usage_source)


def _may_read(account: Account) -> bool:
    """Return False where the last check of the connection was denied its usage source."""
    source = account.connection.usage_source
    return not any(check["name"] == source and check["ok"] is False for check in account.connection.checks)


def _may_pass(error: ProviderError) -> bool:
    """Return whether the same request may succeed later, as after a rate limit or with another key (401)."""
    return isinstance(error, RateLimited | Unauthorized) or not isinstance(error, Rejected | Unsupported)


def mark_late_usage(*, now: datetime) -> int:
    """Mark the accounts whose usage was last read long ago, for the home page; the next reading ends it. Returns how
    many were marked. Reads the whole table: not for a page."""
    since = now - LATE_AFTER
    late = Q(usage_read_at__lt=since) | Q(usage_read_at=None, created_at__lt=since)
    there = Account.objects.filter(late, usage_is_late=False, duplicate_of=None).exclude(state__in=NOT_THERE)
    return there.update(usage_late_at=now)
