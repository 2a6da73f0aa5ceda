"""Runs whose source reports all accounts at once: one request, whose answer settles every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import structlog

from billing.models import SyncItem
from billing.usage import failure_reasons
from billing.usage.batches import BatchAnswer, NotAsked, RunSession, due_items, flush, not_to_ask, said
from billing.usage.pool_snapshots import PoolReading, pool_cap_of, sound
from billing.usage.snapshots import AccountReading
from billing.usage.stored_usage import begun_pool
from customers.models import Account
from customers.models.account import AccountState
from portal.providers import NotFound, NotSent, PooledUsage, RateLimited, Unauthorized, Usage

log = structlog.get_logger(__name__)

# Items per batch. If a worker dies in between, the next one repeats the request for the rest.
TOGETHER = 200


def read_pool(chunk: RunSession, *, deadline: float) -> bool:
    """Settle and write the due items of the run. Return True if any was due. Raises `LostLease`.

    Accounts of the answer without a due item (created since the run began, or settled by it before) are stored as well,
    so that account figures are never older than the pool's.
    """
    if chunk.run.total and not due_items(chunk.run, now=chunk.clock()).exists():
        return False
    asked_at = chunk.clock()
    try:
        usage = begun_pool(sound(chunk.provider.pooled_usage()), at=asked_at)
    except Exception as error:
        if failure_reasons.cause_of(error) == failure_reasons.BUG:
            log.exception("usage.pool_failed", connection=str(chunk.run.connection.public_id))
        answers = _without_answer(chunk, error, asked_at)
        extra: list[AccountReading] = []
    else:
        answers, extra = _from_answer(chunk, usage, asked_at)
    _write(chunk, answers, extra, deadline=deadline)
    return bool(answers)


def _without_answer(chunk: RunSession, error: Exception, asked_at: datetime) -> list[BatchAnswer]:
    """Return the error for every due item, unless it only carries a retry time, or ends the run."""
    retry_at = error.retry_at if isinstance(error, NotSent | RateLimited) else None
    if retry_at is not None:
        chunk.put_off, chunk.resume_at = True, retry_at
        return []
    if isinstance(error, Unauthorized):
        chunk.watch.stop_for_key = str(error)
        return []
    if isinstance(error, NotFound) or not chunk.run.total:  # the reseller's own account is unknown to the provider
        chunk.stop_because = said(error)
        return []
    return [BatchAnswer(item, asked_at, error=error) for item in due_items(chunk.run, now=chunk.clock())]


@dataclass(frozen=True, slots=True)
class _Known:
    """An account of the connection, in its state after the answer was received."""

    pk: int
    package: str
    deleted: bool
    duplicate: bool
    cap: int | None


def _from_answer(
    chunk: RunSession, usage: PooledUsage, asked_at: datetime
) -> tuple[list[BatchAnswer], list[AccountReading]]:
    known = _known_accounts(chunk.run.connection_id)
    found = {
        known[share.account_id].pk: usage.usage_of(share, cap=known[share.account_id].cap)
        for share in usage.accounts
        if share.account_id in known and not known[share.account_id].duplicate
    }
    # Queried after the request: an account deleted meanwhile is not missing from the answer.
    items = list(due_items(chunk.run, now=chunk.clock()))
    answers = [_answer(item, found, asked_at) for item in items]
    chunk.watch.answers = len(answers)
    chunk.watch.missing = sum(_cause(each) == failure_reasons.NOT_REPORTED for each in answers)
    if chunk.watch.stop:
        return [], []
    chunk.pool = PoolReading(usage, asked_at, frozenset(known))
    with_item = {item.account_id for item in items}
    extra = [
        AccountReading(each.pk, found[each.pk], asked_at, each.package)
        for each in known.values()
        if each.pk in found and each.pk not in with_item and not each.deleted
    ]
    return answers, extra


def _known_accounts(connection_id: int) -> dict[str, _Known]:
    rows = Account.objects.filter(connection=connection_id, provider_id__isnull=False)
    fields = ("provider_id", "pk", "package", "state", "duplicate_of_id", "settings")
    return {
        provider_id: _Known(pk, package, state == AccountState.DELETED, duplicate_of is not None, pool_cap_of(settings))
        for provider_id, pk, package, state, duplicate_of, settings in rows.values_list(*fields)
    }


def _answer(item: SyncItem, found: dict[int, Usage], asked_at: datetime) -> BatchAnswer:
    if reason := not_to_ask(item.account):
        return BatchAnswer(item, asked_at, error=reason)
    if usage := found.get(item.account_id):
        return BatchAnswer(item, asked_at, usage=usage)
    return BatchAnswer(item, asked_at, error=NotAsked(failure_reasons.NOT_REPORTED))


def _cause(answer: BatchAnswer) -> str:
    return answer.error.cause if isinstance(answer.error, NotAsked) else ""


def _write(
    chunk: RunSession, answers: Sequence[BatchAnswer], extra: Sequence[AccountReading], *, deadline: float
) -> None:
    """Write in batches, the pool with the first. Items left at `deadline` stay pending and are requested again."""
    for start in range(0, max(len(answers), 1), TOGETHER):
        if start and monotonic() > deadline:
            return
        chunk.answers = list(answers[start : start + TOGETHER])
        flush(chunk)
    for start in range(0, len(extra), TOGETHER):
        chunk.extra = list(extra[start : start + TOGETHER])
        flush(chunk)
