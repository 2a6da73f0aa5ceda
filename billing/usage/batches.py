"""Writing of the results of a run's items: one transaction per batch, guarded by the run's fence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from django.db import OperationalError, transaction
from django.db.models import F, QuerySet

from billing.models import SyncItem, SyncRun
from billing.usage import failure_reasons, guards
from billing.usage.pool_snapshots import PoolReading, store_pool_reading
from billing.usage.snapshots import AccountReading, lock_accounts, store_readings
from customers.models import Account
from customers.models.account import AccountState
from customers.observed import usage_readings
from portal.providers import Provider, Unauthorized, Usage

log = structlog.get_logger(__name__)

# A thousand answers take as many statements as fifty.
BATCH = 1_000
TRIES = 3
# Attempts at a transaction that the database ended: deadlock_detected, serialization_failure, lock_not_available.
WRITES = 4
ENDED_BY_THE_DATABASE = ("40P01", "40001", "55P03")
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class NotAsked(Exception):
    """Reason an item is settled without a request of its own."""

    cause: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """Result of one item: its usage, or the error."""

    item: SyncItem
    asked_at: datetime
    usage: Usage | None = None
    error: Exception | None = None


@dataclass
class RunSession:
    """Work of one worker on a run.

    `answers`, `extra` (snapshots of accounts without an item) and `pool` are written by the next `flush`. `put_off`:
    the provider returned a time to retry at before any data. `stop_because`: reason the run has to end. `limit`: what
    bound its rate lately (`SyncRun.Limit`).
    """

    run: SyncRun
    provider: Provider
    clock: Clock
    gap: timedelta
    answers: list[BatchAnswer] = field(default_factory=list)
    extra: list[AccountReading] = field(default_factory=list)
    pool: PoolReading | None = None
    watch: guards.RunGuard = field(default_factory=guards.RunGuard)
    stop: bool = False
    put_off: bool = False
    stop_because: str = ""
    resume_at: datetime | None = None
    limit: str = ""


def due_items(run: SyncRun, *, now: datetime) -> QuerySet[SyncItem]:
    """Return the run's pending items whose time has come, those tried least first."""
    due = SyncItem.objects.filter(run=run, state=SyncItem.State.PENDING).exclude(not_before__gt=now)
    account = ("provider_id", "v2_username", "public_id", "state", "duplicate_of", "package", "connection")
    only = [field.name for field in SyncItem._meta.fields] + [f"account__{name}" for name in account]
    return due.select_related("account").only(*only).order_by("tries", "pk")


def not_to_ask(account: Account) -> NotAsked | None:
    """Return why there is no usage to read of this account, or None."""
    if account.duplicate_of_id is not None:
        return NotAsked(failure_reasons.DUPLICATE)
    if account.state == AccountState.DELETED or not account.provider_id:
        return NotAsked(failure_reasons.DELETED)
    return None


def in_a_transaction(write: Callable[[], None]) -> None:
    """Run `write` in a transaction, and repeat it where the database rolled it back. Its first statement renews the
    lease of the run, which locks the run's row."""
    for attempt in range(WRITES):
        try:
            with transaction.atomic():
                write()
        except OperationalError as error:
            if attempt == WRITES - 1 or getattr(error.__cause__, "sqlstate", "") not in ENDED_BY_THE_DATABASE:
                raise
            log.warning("usage.written_again", attempt=attempt + 1)
        else:
            return


def flush(chunk: RunSession) -> None:
    """Write the pending results in one transaction. Raises `LostLease`."""
    answers, chunk.answers = chunk.answers, []
    extra, chunk.extra = chunk.extra, []
    pool, chunk.pool = chunk.pool, None
    if chunk.watch.stop_for_key:  # the key was rejected, not these accounts
        answers = [each for each in answers if not isinstance(each.error, Unauthorized)]
    for each in answers:
        each.item.tries += 1  # outside `write`, which may run more than once
    now = chunk.clock()

    def write() -> None:
        chunk.run.renew(now=now)
        ids = {each.item.account_id for each in answers} | {each.account_id for each in extra}
        deleted = lock_accounts(ids)
        if pool:
            store_pool_reading(pool, run=chunk.run)
        if answers or extra:
            _settle(chunk, answers, extra, deleted=deleted, now=now)

    in_a_transaction(write)


def _settle(
    chunk: RunSession, answers: list[BatchAnswer], extra: list[AccountReading], *, deleted: set[int], now: datetime
) -> None:
    run = chunk.run
    readings = [
        AccountReading(each.item.account_id, each.usage, each.asked_at, each.item.account.package)
        for each in answers
        if each.usage is not None and each.usage.used is not None
    ]
    kept = store_readings([*readings, *extra], run=run)
    done, left = [], []
    for each in answers:
        if each.item.account_id in kept:
            done.append(each.item.pk)
        elif each.error is not None and each.item.account_id in deleted:  # during the request
            left.append(_mark(replace(each, error=NotAsked(failure_reasons.DELETED)), now=now, gap=chunk.gap))
        else:
            left.append(_mark(each, now=now, gap=chunk.gap))
    SyncItem.objects.filter(run=run, pk__in=done).delete()
    SyncItem.objects.bulk_update(left, ["state", "tries", "not_before", "cause", "message"], batch_size=50)
    SyncRun.objects.filter(pk=run.pk).update(
        **({"limit": chunk.limit} if chunk.limit else {}),
        done=F("done") + len(done),
        failed=F("failed") + sum(item.state == SyncItem.State.FAILED for item in left),
        skipped=F("skipped") + sum(item.state == SyncItem.State.SKIPPED for item in left),
        changed=F("changed") + sum(each.new for each in kept.values()),
        anomalies=F("anomalies") + sum(each.anomaly for each in kept.values()),
    )


def _mark(answer: BatchAnswer, *, now: datetime, gap: timedelta) -> SyncItem:
    """Note why the account was not read."""
    item, error = answer.item, answer.error
    item.not_before = None
    if isinstance(error, NotAsked):
        item.cause, item.message = error.cause, error.message
    elif error is not None:
        item.cause, item.message = failure_reasons.cause_of(error), said(error)
    else:
        item.cause, item.message = failure_reasons.NO_FIGURE, ""
    if item.cause in (failure_reasons.DELETED, failure_reasons.DUPLICATE):
        item.state = SyncItem.State.SKIPPED
        return item
    if item.cause in failure_reasons.PASSING and item.tries < TRIES:
        item.not_before = now + gap
        return item
    item.state = SyncItem.State.FAILED
    usage_readings.mark_usage_missing(account_ids=[item.account_id], asked_at=answer.asked_at, now=now)
    return item


def said(error: Exception) -> str:
    """Return the provider's message, or only the type of an internal error, whose text may contain anything."""
    return type(error).__name__ if failure_reasons.cause_of(error) == failure_reasons.BUG else str(error)
