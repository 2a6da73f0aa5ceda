"""Write what came back for the items of a run: one transaction per batch, under the run's fence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from billing import causes, guards
from billing.models import SyncItem, SyncRun
from billing.pools import PoolReading, keep_pool
from billing.readings import Kept, Reading, keep_readings
from customers import observations
from portal.providers import Provider, Unauthorized, Usage

LEASE = timedelta(seconds=90)
BATCH = 50
TRIES = 3
I = SyncItem.State  # noqa: E741
R = SyncRun.State
Clock = Callable[[], datetime]


class LostRun(Exception):
    """Another worker holds the run now; nothing of this batch was written."""


@dataclass(frozen=True, slots=True)
class NotAsked(Exception):
    """What settles an item without an answer of its own."""

    cause: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one item: a usage, or the error."""

    item: SyncItem
    asked_at: datetime
    usage: Usage | None = None
    error: Exception | None = None


@dataclass
class Chunk:
    """One worker's stay with a run.

    `answers`, `extra` (readings of accounts without an item) and `pool` wait for the next `flush`. `put_off`: the
    provider said when to come again before it said anything else. `stop_because`: why the run has to end.
    """

    run: SyncRun
    provider: Provider
    clock: Clock
    gap: timedelta
    answers: list[Answer] = field(default_factory=list)
    extra: list[Reading] = field(default_factory=list)
    pool: PoolReading | None = None
    watch: guards.Watch = field(default_factory=guards.Watch)
    stop: bool = False
    put_off: bool = False
    stop_because: str = ""
    resume_at: datetime | None = None


def flush(chunk: Chunk) -> None:
    """Write what waits, in one transaction. Raises `LostRun`."""
    answers, chunk.answers = chunk.answers, []
    extra, chunk.extra = chunk.extra, []
    pool, chunk.pool = chunk.pool, None
    if chunk.watch.stop_for_key:  # the refusal is the key's, so it is nothing against these accounts
        answers = [each for each in answers if not isinstance(each.error, Unauthorized)]
    now = chunk.clock()
    with transaction.atomic():
        # First of all the run's own row: it proves the lease, and on PostgreSQL holds it until the commit.
        mine = SyncRun.objects.filter(pk=chunk.run.pk, fence=chunk.run.fence, state=R.RUNNING)
        if mine.update(lease_until=now + LEASE) != 1:
            raise LostRun
        if pool:
            keep_pool(pool, run=chunk.run)
        if answers or extra:
            _settle(chunk, answers, extra, now=now)


def _settle(chunk: Chunk, answers: list[Answer], extra: list[Reading], *, now: datetime) -> None:
    run = chunk.run
    readings = [
        Reading(each.item.account_id, each.usage, each.asked_at, each.item.account.package)
        for each in answers
        if each.usage is not None and each.usage.used is not None
    ]
    kept = keep_readings([*readings, *extra], run=run)
    for each in answers:
        _mark(each, kept.get(each.item.account_id), now=now, gap=chunk.gap)
    items = [each.item for each in answers]
    SyncItem.objects.bulk_update(
        items, ["state", "tries", "not_before", "cause", "message", "snapshot", "read_at"], batch_size=BATCH
    )
    counts = {state: sum(item.state == state for item in items) for state in (I.DONE, I.FAILED, I.SKIPPED)}
    SyncRun.objects.filter(pk=run.pk).update(
        done=F("done") + counts[I.DONE],
        failed=F("failed") + counts[I.FAILED],
        skipped=F("skipped") + counts[I.SKIPPED],
        changed=F("changed") + sum(each.new for each in kept.values()),
        lower=F("lower") + sum(each.lower for each in kept.values()),
    )


def _mark(answer: Answer, kept: Kept | None, *, now: datetime, gap: timedelta) -> None:
    item, error = answer.item, answer.error
    item.tries += 1
    item.not_before = None
    if kept is not None:
        item.state, item.cause, item.message = I.DONE, "", ""
        item.snapshot, item.read_at = kept.snapshot, answer.asked_at
        return
    if isinstance(error, NotAsked):
        item.cause, item.message = error.cause, error.message
    elif error is not None:
        item.cause, item.message = causes.cause_of(error), said(error)
    else:
        item.cause, item.message = causes.NO_FIGURE, ""
    if item.cause in (causes.DELETED, causes.DUPLICATE):
        item.state = I.SKIPPED
        return
    if item.cause in causes.PASSING and item.tries < TRIES:
        item.not_before = now + gap
        return
    item.state = I.FAILED
    observations.usage_missing(account_id=item.account_id, now=now)


def said(error: Exception) -> str:
    """The provider's sentence; of a fault of ours only its kind, for texts of exceptions may hold anything."""
    return (type(error).__name__ if causes.cause_of(error) == causes.BUG else str(error))[:500]
