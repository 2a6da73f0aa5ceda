"""Sync of the accounts of one run: claim the run, read in threads, write in batches from this thread alone.

    claim (lease and fence) -> read due items (billing.usage.pipeline) -> plan and store (billing.usage.snapshots) ->
    settle the items

A source that reports all accounts at once gets one request for all of them (billing.usage.pooled_sync). Nothing is
fetched inside a transaction. A worker that is killed loses at most the batch it had not written; its lease expires and
the next worker continues with the pending items. `done + failed + skipped` reaches `total`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

import structlog

from billing.models import SyncItem, SyncRun
from billing.usage import failure_reasons, midnight_runs, runs, statistics_runs
from billing.usage.batches import BatchAnswer, Clock, NotAsked, RunSession, not_to_ask
from billing.usage.pipeline import Pipeline
from billing.usage.pooled_sync import read_pool
from billing.usage.stored_usage import begun
from customers.connections.client import background_client
from customers.models import Connection
from customers.models.breaker import is_out_of_reach
from portal.clock import database_clock
from portal.encryption import DecryptionError
from portal.leases import AT_ONCE, work_on
from portal.providers import Provider, Unsupported, UsageSource
from portal.texts import say

log = structlog.get_logger(__name__)

CHUNK_SECONDS = 40.0
# Delay before a run checks an unreachable provider again.
LOOK_AGAIN = timedelta(seconds=30)
Connect = Callable[[Connection], Provider]


def sync_chunk(
    run_id: int,
    *,
    clock: Clock | None = None,
    connect: Connect = background_client,
    seconds: float = CHUNK_SECONDS,
    gap: timedelta | None = None,
) -> bool:
    """Process the run for `seconds` at most. Return True if more items are due at once. Safe to call at any time.

    `clock` defaults to the database's clock, shared by all workers: of two readings the one requested later counts.
    `gap` is the delay before a transient failure is retried; it defaults to the one of the run's kind.
    """
    clock = clock or database_clock()
    run = claim_items(run_id, now=clock())
    if run is None:
        return False
    step = partial(_step, run, connect, clock, gap or runs.pass_gap(run), deadline=monotonic() + seconds)
    with structlog.contextvars.bound_contextvars(usage_run=str(run.public_id)):
        return work_on(run, step, clock=clock)


def claim_items(run_id: int, *, now: datetime) -> SyncRun | None:
    """Claim the run. Return None if it has ended, is not due, is claimed by another worker, or its connection is paused
    or unreachable."""
    due = SyncRun.objects.filter(pk=run_id, state=SyncRun.State.RUNNING).due(now=now)
    run = due.select_related("connection").first()
    if run is None:
        return None
    if not run.connection.is_readable:
        runs.pause_run(run, message=run.connection.paused_reason or say("run.connection_paused"))
        return None
    if is_out_of_reach(run.connection) and now < run.until:  # a run whose time is over is ended all the same
        run.as_read().update(not_before=now + LOOK_AGAIN)
        return None
    return run if run.claim(now=now) else None


def _step(run: SyncRun, connect: Connect, clock: Clock, gap: timedelta, *, deadline: float) -> timedelta | None:
    """Process one chunk of items with the connection's settings as they were at the claim: the only step of it."""
    try:
        chunk = RunSession(run, connect(run.connection), clock, gap)
    except DecryptionError:
        runs.abort(run, message=say("run.key_does_not_open"), now=clock())
    except Unsupported as error:  # no client can be created from the settings
        runs.abort(run, message=str(error), now=clock())
    else:
        return _work(chunk, deadline=deadline)
    return None


def _work(chunk: RunSession, *, deadline: float) -> timedelta | None:
    run = chunk.run
    if chunk.clock() >= run.until:
        runs.run_out(run, now=chunk.clock())
        return None
    if run.kind == SyncRun.Kind.STATISTICS:
        return statistics_runs.read_statistics(chunk, deadline=deadline)
    if run.kind == SyncRun.Kind.MIDNIGHT:
        return midnight_runs.read_midnight(chunk)
    if run.source == UsageSource.POOLED:
        return _next_wait(chunk, had_work=read_pool(chunk, deadline=deadline))
    request = partial(_ask, chunk.provider, UsageSource(run.source), chunk.clock)
    pipeline = Pipeline(chunk, request=request, settle=partial(_without_asking, chunk), deadline=deadline)
    return _next_wait(chunk, had_work=pipeline.run())


def _ask(provider: Provider, source: UsageSource, clock: Clock, item: SyncItem) -> BatchAnswer:
    """Request one account's usage. Runs in a thread, without the database. The usage is at least as recent as
    `asked_at`."""
    asked_at = clock()
    try:
        return BatchAnswer(item, asked_at, usage=begun(provider.usage(item.account.ref, source), at=asked_at))
    except Exception as error:
        if failure_reasons.cause_of(error) == failure_reasons.BUG:
            log.exception("usage.reading_failed", account=str(item.account.public_id))
        return BatchAnswer(item, asked_at, error=error)


def _without_asking(chunk: RunSession, item: SyncItem) -> BatchAnswer | None:
    reason = not_to_ask(item.account)
    if reason is None and chunk.run.source in runs.OVERVIEWS and not item.account.v2_username:
        reason = NotAsked(failure_reasons.NO_USER_NAME)
    return BatchAnswer(item, chunk.clock(), error=reason) if reason else None


def _next_wait(chunk: RunSession, *, had_work: bool) -> timedelta | None:
    """End the run, or return how long its next chunk has to wait."""
    run, now = chunk.run, chunk.clock()
    stops = chunk.watch.stop or chunk.stop_because
    if stops and not run.connection.is_current():  # the result belongs to an earlier key or address
        return AT_ONCE
    if chunk.watch.stop_for_key:
        runs.stop_for_key(run, message=chunk.watch.stop_for_key, now=now)
    elif chunk.watch.stop_for_missing:
        runs.abort(run, message=chunk.watch.stop_for_missing, now=now)
    elif chunk.stop_because:
        runs.abort(run, message=chunk.stop_because, now=now)
    elif not chunk.put_off and not SyncItem.objects.filter(run=run, state=SyncItem.State.PENDING).exists():
        runs.finish(run, now=now)
    else:
        next_at = chunk.resume_at or runs.next_due(run) or now
        return next_at - now if next_at > now else AT_ONCE if had_work else LOOK_AGAIN
    return None
