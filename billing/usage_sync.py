"""Read the accounts of one run: claim the run, fetch in threads, write in batches from this thread alone.

    claim (lease and fence) -> choose what is due -> fetch -> plan and keep (billing.readings) -> settle the items

Nothing is fetched inside a transaction. A worker that is killed loses at most the batch it had not written; its lease
runs out and the next worker goes on with the items that are still waiting. `done + failed + skipped` reaches `total`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic, sleep

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import causes, guards, runs
from billing.models import SyncItem, SyncRun
from billing.readings import Kept, Reading, keep_readings
from customers import observations
from customers.clients import client_for
from customers.models import Connection
from customers.models.account import AccountState
from portal.providers import NotSent, Provider, RateLimited, Unauthorized, Usage, UsageSource
from portal.vault import CannotOpen

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=90)
CHUNK = 200
BATCH = 50
BATCH_SECONDS = 2.0
CHUNK_SECONDS = 40.0
THREADS = 8
TRIES = 3
# The share of the connection's quota a run may use; the rest is for people.
QUOTA_SHARE = 0.8
NEEDS_USERNAME = (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML)
I = SyncItem.State  # noqa: E741
R = SyncRun.State
Clock = Callable[[], datetime]
Connect = Callable[[Connection], Provider]


class LostRun(Exception):
    """Another worker holds the run now; nothing of this batch was written."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one item: a usage, or the error."""

    item: SyncItem
    asked_at: datetime
    usage: Usage | None = None
    error: Exception | None = None


@dataclass
class Chunk:
    """One worker's stay with a run."""

    run: SyncRun
    provider: Provider
    clock: Clock
    gap: timedelta
    answers: list[Answer] = field(default_factory=list)
    watch: guards.Watch = field(default_factory=guards.Watch)
    stop: bool = False
    resume_at: datetime | None = None


def sync_chunk(
    run_id: int,
    *,
    clock: Clock = timezone.now,
    connect: Connect = client_for,
    seconds: float = CHUNK_SECONDS,
    gap: timedelta | None = None,
) -> bool:
    """Take the run as far as the time allows. True when there may be more to do at once. Safe to call at any time.

    `gap` is how long a failure that may pass waits for its next try; by default what the run's kind says.
    """
    run = claim(run_id, now=clock())
    if run is None:
        return False
    try:
        chunk = Chunk(run, connect(run.connection), clock, gap or runs.pass_gap(run))
    except CannotOpen:
        runs.abort(run, message=_("The connection's stored key does not open."), now=clock())
        return False
    try:
        with structlog.contextvars.bound_contextvars(usage_run=str(run.public_id)):
            return _work(chunk, deadline=monotonic() + seconds)
    except LostRun:
        log.warning("usage_run.lease_lost", run=str(run.public_id))
        return False


def claim(run_id: int, *, now: datetime) -> SyncRun | None:
    """Take the run, or None: ended, not due, its connection paused, or another worker holds it."""
    run = SyncRun.objects.select_related("connection").filter(pk=run_id, state=R.RUNNING).first()
    if run is None or run.not_before > now or (run.lease_until and run.lease_until > now):
        return None
    if run.connection.paused:
        runs.pause(run, message=run.connection.paused_reason or _("The connection is paused."))
        return None
    mine = SyncRun.objects.filter(pk=run.pk, state=R.RUNNING, fence=run.fence)
    if mine.update(fence=F("fence") + 1, lease_until=now + LEASE) != 1:
        return None
    run.fence += 1
    return run


def _work(chunk: Chunk, *, deadline: float) -> bool:
    run = chunk.run
    if chunk.clock() >= run.until:
        runs.run_out(run, now=chunk.clock())
        return False
    items = _due_items(run, now=chunk.clock())
    with ThreadPoolExecutor(THREADS, thread_name_prefix="usage") as pool:
        _fetch(chunk, pool, items, deadline=deadline)
    _flush(chunk)
    return _leave(chunk, had_work=bool(items))


def _due_items(run: SyncRun, *, now: datetime) -> list[SyncItem]:
    due = SyncItem.objects.filter(run=run, state=I.PENDING).exclude(not_before__gt=now)
    return list(due.select_related("account").order_by("tries", "pk")[:CHUNK])


def _fetch(chunk: Chunk, pool: ThreadPoolExecutor, items: list[SyncItem], *, deadline: float) -> None:
    """Keep the threads busy at the connection's pace, and write what they bring, batch by batch."""
    running: set[Future[Answer]] = set()
    waiting = iter(items)
    pace = Pace(chunk.run.connection)
    flushed_at = monotonic()
    open_ = True
    while open_ or running:
        while open_ and len(running) < THREADS:
            item = None if chunk.stop or pace.next_at > deadline else next(waiting, None)
            if item is None:
                open_ = False
            elif settled := _without_asking(chunk, item):
                chunk.answers.append(settled)
            else:
                pace.keep()
                running.add(pool.submit(_ask, chunk.provider, item, UsageSource(chunk.run.source), chunk.clock))
        finished, running = wait(running, timeout=BATCH_SECONDS, return_when=FIRST_COMPLETED)
        for future in finished:
            _take(chunk, future.result())
        if len(chunk.answers) >= BATCH or monotonic() - flushed_at > BATCH_SECONDS:
            _flush(chunk)
            flushed_at = monotonic()
    if pace.next_at > deadline:
        chunk.resume_at = chunk.clock() + timedelta(seconds=pace.pause)


class Pace:
    """Spreads requests evenly over the connection's share of its quota."""

    def __init__(self, connection: Connection) -> None:
        self.pause = 60.0 / max(1.0, connection.requests_per_minute * QUOTA_SHARE)
        self.next_at = monotonic()

    def keep(self) -> None:
        sleep(max(0.0, self.next_at - monotonic()))
        self.next_at = max(self.next_at, monotonic() - 1.0) + self.pause


def _ask(provider: Provider, item: SyncItem, source: UsageSource, clock: Clock) -> Answer:
    """In a thread: one question, no database. The reading is as fresh as the moment before it was asked, at least."""
    asked_at = clock()
    try:
        return Answer(item, asked_at, usage=provider.usage(item.account.ref, source))
    except Exception as error:
        if causes.cause_of(error) == causes.BUG:
            log.exception("usage.reading_failed", account=str(item.account.public_id))
        return Answer(item, asked_at, error=error)


@dataclass(frozen=True, slots=True)
class NotAsked(Exception):
    """An item that needs no question to be settled."""

    cause: str
    message: str


def _without_asking(chunk: Chunk, item: SyncItem) -> Answer | None:
    account = item.account
    if account.state == AccountState.DELETED or not account.provider_id:
        return Answer(item, chunk.clock(), error=NotAsked(causes.DELETED, ""))
    if chunk.run.source in NEEDS_USERNAME and not account.v2_username:
        return Answer(item, chunk.clock(), error=NotAsked(causes.NO_USER_NAME, ""))
    return None


def _take(chunk: Chunk, answer: Answer) -> None:
    error = answer.error
    retry_at = error.retry_at if isinstance(error, NotSent | RateLimited) else None
    if retry_at is not None:  # the provider said when: nobody else need ask before, and it is no failure of the account
        chunk.stop = True
        chunk.resume_at = max(retry_at, chunk.resume_at or retry_at)
        return
    chunk.answers.append(answer)
    chunk.watch.see(answer.item.account_id, error)
    chunk.stop = chunk.stop or chunk.watch.stop


def _flush(chunk: Chunk) -> None:
    """Write the answers so far in one transaction, under the run's fence."""
    answers, chunk.answers = chunk.answers, []
    if chunk.watch.stop_for_key:  # the refusal is the key's, so it is nothing against these accounts
        answers = [each for each in answers if not isinstance(each.error, Unauthorized)]
    now = chunk.clock()
    with transaction.atomic():
        # First of all the run's own row: it proves the lease, and on PostgreSQL holds it until the commit.
        mine = SyncRun.objects.filter(pk=chunk.run.pk, fence=chunk.run.fence, state=R.RUNNING)
        if mine.update(lease_until=now + LEASE) != 1:
            raise LostRun
        if answers:
            _settle(chunk, answers, now=now)


def _settle(chunk: Chunk, answers: list[Answer], *, now: datetime) -> None:
    run = chunk.run
    readings = [
        Reading(each.item.account_id, each.usage, each.asked_at, each.item.account.package)
        for each in answers
        if each.usage is not None and each.usage.used is not None
    ]
    kept = keep_readings(readings, run=run)
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
        item.cause, item.message = causes.cause_of(error), _said(error)
    else:
        item.cause, item.message = causes.NO_FIGURE, ""
    if item.cause == causes.DELETED:
        item.state = I.SKIPPED
        return
    if item.cause in causes.PASSING and item.tries < TRIES:
        item.not_before = now + gap
        return
    item.state = I.FAILED
    observations.usage_missing(account_id=item.account_id, now=now)


def _said(error: Exception) -> str:
    """The provider's sentence; of a fault of ours only its kind, for texts of exceptions may hold anything."""
    return (type(error).__name__ if causes.cause_of(error) == causes.BUG else str(error))[:500]


def _leave(chunk: Chunk, *, had_work: bool) -> bool:
    """Give the run back, or end it. True when more is due at once."""
    run, now = chunk.run, chunk.clock()
    if chunk.watch.stop_for_key:
        runs.stop_for_key(run, message=chunk.watch.stop_for_key, now=now)
    elif chunk.watch.stop_for_missing:
        runs.abort(run, message=chunk.watch.stop_for_missing, now=now)
    elif not SyncItem.objects.filter(run=run, state=I.PENDING).exists():
        runs.finish(run, now=now)
    else:
        next_at = chunk.resume_at or runs.next_due(run) or now
        mine = SyncRun.objects.filter(pk=run.pk, fence=run.fence, state=R.RUNNING)
        mine.update(lease_until=None, not_before=max(now, next_at))
        return had_work and next_at <= now
    return False
