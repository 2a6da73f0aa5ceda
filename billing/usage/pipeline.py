"""Reading of many accounts at once: threads request usage ahead of one writer.

    load items -> threads (each takes the next item and requests it) -> answers -> one writer, up to `BATCH` at a time

Threads touch no database. They are added as long as they don't wait for the rate limit, and while the worker's own
processor has time. What ends the requests (a rejected key, a retry time, missing accounts) is decided where an answer
arrives, so no further request is begun; the writer may be at work then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from threading import Condition, Thread
from time import monotonic, process_time

from billing.models import SyncItem, SyncRun
from billing.usage.batches import BATCH, BatchAnswer, RunSession, due_items, flush
from customers.connections import circuit_breaker
from customers.models import Connection
from portal.providers import Evidence, NotSent, ProviderError, RateLimited

# Items of one claim, and how many of them are loaded at a time.
MOST_ITEMS, PAGE = 25_000, 1_000
# Answers are written after this time, if there are not enough for a batch before; an empty write renews the lease.
BATCH_SECONDS = 5.0
# Threads at the beginning, and at most. A thread is idle for nearly all of a request.
THREADS, MOST_THREADS = 8, 64
# How often the breaker is told, threads are added, and the limit is measured.
TICK_SECONDS, BREAKER_SECONDS = 0.25, 2.0
# Requests without an answer that are too many to go on before the breaker knows of them.
MOST_LOST = 20
# Shares of time: waiting for the rate limit, on the worker's processor, and waiting for the writer.
WAITS, WORKS = 0.2, 0.85

Request = Callable[[SyncItem], BatchAnswer]
Settle = Callable[[SyncItem], BatchAnswer | None]


class Pipeline:
    """One claim's work on a run. `request` reads one account, in a thread; `settle` returns the result of an item that
    needs no request."""

    def __init__(self, chunk: RunSession, *, request: Request, settle: Settle, deadline: float) -> None:
        self._chunk, self._request, self._settle, self._deadline = chunk, request, settle, deadline
        self._changed = Condition()
        self._unloaded: deque[int] = deque()
        self._waiting: deque[SyncItem] = deque()
        self._answers: list[BatchAnswer] = []
        self._heard: list[BatchAnswer] = []
        self._answered, self._lost = 0, 0
        self._full_seconds = 0.0  # thread seconds spent waiting for the writer
        self._threads: list[Thread] = []
        self._error: BaseException | None = None

    def run(self) -> bool:
        """Read and write what is due. Return True if anything was. Raises `LostLease`."""
        most = min(MOST_ITEMS, max(PAGE, self._chunk.run.connection.requests_per_minute))
        self._unloaded.extend(due_items(self._chunk.run, now=self._chunk.clock()).values_list("pk", flat=True)[:most])
        had_work = bool(self._unloaded)
        try:
            self._load()
            self._add_threads(THREADS)
            self._write_until_done()
        finally:
            self._end_threads()
        return had_work

    # -- the writer's thread

    def _write_until_done(self) -> None:
        meter = _Meter(self._chunk)
        written_at = told_at = monotonic()
        grown_at = 0
        while True:
            with self._changed:
                self._changed.wait_for(self._is_urgent, TICK_SECONDS)
                ended, ready = self._has_ended(), len(self._answers)
                lost, full, answered = self._lost, self._full_seconds, self._answered
            now = monotonic()
            if ended or lost >= MOST_LOST or now - told_at > BREAKER_SECONDS:
                self._tell_breaker()
                told_at = now
            if limit := meter.limit(len(self._threads), full):
                self._chunk.limit = limit
                # Twice as many once each of them was answered, not while the provider can't be reached.
                if limit == SyncRun.Limit.LATENCY and answered >= grown_at + len(self._threads):
                    grown_at = answered
                    self._add_threads(len(self._threads))
            if ready >= BATCH or ended or now - written_at > BATCH_SECONDS:
                self._write()
                written_at = monotonic()
            self._load()
            if ended and not self._answers:
                break
        if self._error:
            raise self._error

    def _is_urgent(self) -> bool:
        return self._has_ended() or len(self._answers) >= BATCH or self._lost >= MOST_LOST

    def _has_ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _load(self) -> None:
        """Load the next items before the threads have none left."""
        if len(self._waiting) > PAGE or not self._unloaded:
            return
        ids = [self._unloaded.popleft() for _ in range(min(PAGE, len(self._unloaded)))]
        items = due_items(self._chunk.run, now=self._chunk.clock()).filter(pk__in=ids)
        to_read, settled = [], []
        for item in items:
            if answer := self._settle(item):
                settled.append(answer)
            else:
                to_read.append(item)
        with self._changed:
            self._answers += settled
            self._waiting += to_read
            self._changed.notify_all()

    def _write(self) -> None:
        with self._changed:
            self._chunk.answers, self._answers = self._answers[:BATCH], self._answers[BATCH:]
            self._changed.notify_all()
        flush(self._chunk)
        if (
            not self._chunk.run.connection.as_read().filter(paused__in=Connection.READABLE).exists()
        ):  # the next claim deals with it
            self._chunk.stop = True

    def _tell_breaker(self) -> None:
        """Report to the circuit breaker, and stop requests for now if it is open."""
        with self._changed:
            heard, self._heard = self._heard, []
        asked = [each for each in heard if each.usage or _evidence(each).sent_at]
        lost = [_evidence(each) for each in asked if _is_lost(each)]
        connection = self._chunk.run.connection
        circuit_breaker.count(
            connection,
            answered=len(asked) - len(lost),
            failed=len(lost),
            now=self._chunk.clock(),
            last=lost[-1] if lost else None,
        )
        if lost and (standing := circuit_breaker.breaker_status(connection)).is_open:
            self._chunk.stop, self._chunk.resume_at = True, standing.retry_at
        with self._changed:
            self._lost = 0
            self._changed.notify_all()

    def _add_threads(self, more: int) -> None:
        # In a copy of this context, so that log lines of the thread include the run's ID.
        for _ in range(min(more, MOST_THREADS - len(self._threads), len(self._waiting))):
            thread = Thread(target=partial(copy_context().run, self._read), name="usage", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _end_threads(self) -> None:
        """Let every thread end its request, and wait for it: nobody else may take these items before."""
        with self._changed:
            self._waiting.clear()
            self._unloaded.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # -- the other threads

    def _read(self) -> None:
        try:
            while item := self._next():
                answer = self._request(item)
                with self._changed:
                    self._take(answer)
        except BaseException as error:  # noqa: BLE001 - raised again by the writer
            with self._changed:
                self._error = error
                self._chunk.stop = True
                self._changed.notify_all()

    def _next(self) -> SyncItem | None:
        """Return the next item, or None to end: everything was taken, time is over, or the requests are to stop."""
        with self._changed:
            while not self._chunk.stop and monotonic() < self._deadline and (self._waiting or self._unloaded):
                is_full = len(self._answers) >= 2 * BATCH
                if self._waiting and not is_full and self._lost < MOST_LOST:
                    return self._waiting.popleft()
                began = monotonic()
                self._changed.wait(TICK_SECONDS)
                if is_full:
                    self._full_seconds += monotonic() - began
            self._changed.notify_all()
        return None

    def _take(self, answer: BatchAnswer) -> None:
        chunk, error = self._chunk, answer.error
        self._heard.append(answer)
        if _is_lost(answer):
            self._lost += 1
        else:
            self._answered += 1
            self._lost = max(0, self._lost - 1)
        retry_at = error.retry_at if isinstance(error, NotSent | RateLimited) else None
        if retry_at is not None:  # the provider returned a retry time; the account did not fail
            chunk.stop = True
            chunk.resume_at = max(retry_at, chunk.resume_at or retry_at)
        else:
            self._answers.append(answer)
            chunk.watch.see(answer.item.account_id, error)
            chunk.stop = chunk.stop or chunk.watch.stop
        if chunk.stop or self._is_urgent_for_writer():
            self._changed.notify_all()

    def _is_urgent_for_writer(self) -> bool:
        return len(self._answers) == BATCH or self._lost >= MOST_LOST


class _Meter:
    """Measures the limit met since the last look: the quota, the provider's latency, our processor, or the database."""

    def __init__(self, chunk: RunSession) -> None:
        self._chunk = chunk
        self._look(0.0)

    def _look(self, full: float) -> None:
        self._at, self._worker, self._full = monotonic(), process_time(), full
        self._waited = self._chunk.provider.seconds_waited

    def limit(self, threads: int, full: float) -> str:
        passed = monotonic() - self._at
        if passed < TICK_SECONDS or not threads:
            return ""
        waited = (self._chunk.provider.seconds_waited - self._waited) / passed / threads
        worked, stalled = (process_time() - self._worker) / passed, (full - self._full) / passed / threads
        self._look(full)
        if worked > WORKS:
            return str(SyncRun.Limit.WORKER)
        if stalled > WAITS:
            return str(SyncRun.Limit.DATABASE)
        return str(SyncRun.Limit.QUOTA if waited > WAITS else SyncRun.Limit.LATENCY)


def _is_lost(answer: BatchAnswer) -> bool:
    return circuit_breaker.unreachable(_evidence(answer))


def _evidence(answer: BatchAnswer) -> Evidence:
    return answer.error.evidence if isinstance(answer.error, ProviderError) else Evidence()
