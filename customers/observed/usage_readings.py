"""Usage read around changes of accounts, stored for billing: before and after a change of ours, before a delete, and
soon after a change that was noticed.

Credits tell of the current billing period alone, so what was used under the old package can't be read later. What was
used before a suspend can, where the provider reports usage of a suspended account and the period does not end
meanwhile; else it is read before (`is_read_before`). After a change usage is due at once, and a task of its own reads
it.
A pooled report covers all accounts and is read only before a delete.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from customers.models import Account, Connection, Operation, UsageReading
from customers.models.account import NOT_THERE, AccountState
from customers.models.breaker import readable
from customers.models.operation_states import USAGE_IS_READ_AFTER, OperationKind, OperationState
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
from portal.row_updates import update_rows
from portal.texts import say

log = structlog.get_logger(__name__)

# The task that reads usage that is due.
READ_USAGE = "customers.read_usage"
# A reading beside an operation takes no longer than this, and is not retried.
SECONDS = 10.0
# A billing period that ends within this may end between the change and the reading after it.
PERIOD_ENDS_SOON = timedelta(days=2)
# When a due reading is tried again after a failure that may pass.
RETRY_AFTER = timedelta(minutes=10)
LATE_AFTER = timedelta(hours=36)
# Accounts marked in one transaction.
MARKED_TOGETHER = 500
# These sources know an account by its v2 username, which is read after a create.
NEEDS_USERNAME = (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML)


def is_read_before(operation: Operation, *, now: datetime) -> bool:
    """Return whether usage is read just before the operation's change, because the reading after it could lack some."""
    if operation.kind not in USAGE_IS_READ_AFTER or operation.kind == OperationKind.CREATE:
        return False  # a new account has none
    account, connection = operation.account, operation.connection
    if operation.kind == OperationKind.OFFERINGS or account.usage_end_on is None:
        return True
    if account.usage_end_on <= (now + PERIOD_ENDS_SOON).date():
        return True
    return operation.kind == OperationKind.SUSPEND and (
        connection.usage_source_when_suspended != connection.usage_source
    )


def read_before(operation: Operation, provider: Provider, *, now: datetime) -> None:
    """Read and store the usage before the operation's change, in one try. A failure is stored instead and changes
    nothing about the operation."""
    account, moment = operation.account, UsageReading.Moment.BEFORE
    if _is_pooled(account):
        return
    if not _may_read(account):
        store_failure(account, say("usage.not_permitted"), moment=moment, now=now, operation=operation)
        return
    try:
        usage = provider.usage(account.ref, _source_of(account), seconds=SECONDS)
    except ProviderError as error:
        store_failure(account, str(error), moment=moment, now=now, operation=operation)
    else:
        store_usage(account, usage, moment=moment, now=now, operation=operation)


def due_after(operation: Operation, *, now: datetime) -> dict[str, datetime | None]:
    """Return the column that makes usage due after the operation's success, for the transaction that records it. By
    this moment the reading knows the operation again. A delete read it before."""
    if operation.kind == OperationKind.DELETE:
        return {"usage_due_at": None}
    if operation.kind not in USAGE_IS_READ_AFTER or operation.connection.usage_source == UsageSource.POOLED:
        return {}
    return {"usage_due_at": now}


def _change_before(account: Account) -> Operation | None:
    """Return the operation whose success made usage due; None where a change was noticed, or an earlier reading
    failed."""
    changes = account.operations.filter(kind__in=USAGE_IS_READ_AFTER, state=OperationState.SUCCEEDED)
    return changes.filter(finished_at=account.usage_due_at).first()


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
    """Return the accounts whose usage is due because of a change and can be read, the oldest first."""
    return (
        Account.objects.filter(
            readable("connection__"), usage_due_at__lte=now, provider_id__isnull=False, duplicate_of=None
        )
        .exclude(connection__usage_source=UsageSource.POOLED)
        .exclude(connection__usage_source__in=NEEDS_USERNAME, v2_username="")
        .exclude(state=AccountState.DELETED)
        .order_by("usage_due_at")
    )


def read_due_usage(account: Account, provider: Provider, *, now: datetime) -> None:
    """Read the usage that is due, after an operation or a change that was noticed, and store it. Whoever moves the due
    time reads; after a failure that may pass it stays due. A failure is stored, but of a noticed change only one that
    ends it."""
    later = now + RETRY_AFTER
    if not Account.objects.filter(pk=account.pk, usage_due_at=account.usage_due_at).update(usage_due_at=later):
        return
    operation = _change_before(account)
    moment = UsageReading.Moment.AFTER if operation else UsageReading.Moment.NOTICED
    failure, may_pass, is_known = "", False, False
    try:
        if operation and not _may_read(account):
            failure = say("usage.not_permitted")
        else:
            usage = provider.usage(account.ref, _source_of(account), seconds=SECONDS if operation else None)
    except ProviderError as error:
        failure, may_pass = str(error), _may_pass(error)
    if not failure:
        is_known = usage.used is not None
        store_usage(account, usage, moment=moment, now=now, operation=operation)
    elif operation or not may_pass:
        store_failure(account, failure, moment=moment, now=now, operation=operation)
    if may_pass:
        return
    is_last = Account.objects.filter(pk=account.pk, usage_due_at=later).update(usage_due_at=None)
    if is_last and operation and operation.kind == OperationKind.SUSPEND:  # it is suspended still
        _learn_of_suspended(account.connection, is_known=is_known)


def _learn_of_suspended(connection: Connection, *, is_known: bool) -> None:
    """Record whether the provider reports usage of a suspended account."""
    source = connection.usage_source if is_known else ""
    if connection.usage_source_when_suspended != source:
        connection.as_read().update(usage_source_when_suspended=source)


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


@dataclass(frozen=True, slots=True)
class CurrentUsage:
    """Usage of an account in its current billing period, as billing read it at a time. Counts are emails; dates are
    inclusive."""

    account_id: int
    used: int | None
    allowed: int | None
    overage: int | None
    start_on: date | None
    end_on: date | None
    at: datetime


def record_usages(told: Collection[CurrentUsage], *, locked: Mapping[int, Account] | None = None) -> None:
    """Store the usage of these accounts, also of deleted ones, where no later reading of it is stored. `locked`: the
    accounts, where the caller's transaction has locked and then read them."""
    changed = []
    with transaction.atomic():
        if locked is None:
            rows = Account.objects.select_for_update(no_key=True).filter(pk__in=[each.account_id for each in told])
            locked = {row.pk: row for row in rows.only("usage_read_at", "usage_due_at").order_by("pk")}
        for each in told:
            row = locked.get(each.account_id)
            if row is None:
                continue
            if row.usage_read_at is not None and row.usage_read_at > each.at:
                continue
            row.usage_used, row.usage_allowed, row.usage_overage = each.used, each.allowed, each.overage
            row.usage_start_on, row.usage_end_on, row.usage_read_at = each.start_on, each.end_on, each.at
            row.usage_missing_since = None
            if row.usage_due_at is not None and row.usage_due_at <= each.at:
                row.usage_due_at = None
            changed.append(row)
        update_rows(changed, _USAGE)


_USAGE = (
    "usage_used", "usage_allowed", "usage_overage", "usage_start_on", "usage_end_on", "usage_read_at",
    "usage_missing_since", "usage_due_at",
)  # fmt: skip


def mark_usage_missing(*, account_ids: Iterable[int], asked_at: datetime, now: datetime) -> None:
    """Record that a due reading failed. The last figures stay; the time since when they are missing is stored. Where
    another reading was requested after `asked_at` and succeeded, nothing is missing."""
    older = Q(usage_read_at=None) | Q(usage_read_at__lte=asked_at)
    missing = Account.objects.filter(older, pk__in=account_ids, usage_missing_since=None)
    missing.update(usage_missing_since=now)


def mark_late_usage(*, now: datetime) -> int:
    """Mark the accounts whose usage was last read long ago, for the home page; the next reading ends it. Returns how
    many were marked. Reads the whole table: not for a page. Few at a time, and none that is being written: after an
    outage these are all accounts."""
    since = now - LATE_AFTER
    late = Q(usage_read_at__lt=since) | Q(usage_read_at=None, created_at__lt=since)
    found = Account.objects.order_by("pk").filter(late, usage_is_late=False, duplicate_of=None)
    found = found.exclude(state__in=NOT_THERE)
    keys = list(found.values_list("pk", flat=True))
    marked = 0
    for start in range(0, len(keys), MARKED_TOGETHER):
        with transaction.atomic():
            some = found.filter(pk__in=keys[start : start + MARKED_TOGETHER])
            free = some.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)
            marked += Account.objects.filter(pk__in=list(free)).update(usage_late_at=now)
    return marked
