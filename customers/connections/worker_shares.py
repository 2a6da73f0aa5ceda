"""A fair share of a queue's worker processes for every connection: one slow provider does not occupy them all.

A task that calls a provider takes a *place* first and releases it at its end. A connection gets one more while it holds
fewer than are free, so alone it gets half of them, and the next one half of the rest. A task that gets none ends at
once: its row is found again by the dispatcher, or by the task that releases its place.

In PostgreSQL a place is an advisory lock of the worker's session, which ends with its process, however that ends. On
SQLite, where one worker works in threads, it is counted in that process. It only serves fairness: the correctness of an
operation depends on the claim alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connection, transaction

from customers.models import Heartbeat
from customers.models.watch import SILENT
from portal import queue_settings
from portal.clock import database_now

# Work that takes a process and calls no provider, as bulk changes do, shares as if it were one more connection.
NO_CONNECTION = 0
# The first of two numbers that name an advisory lock; one more for every queue. The key (_LOCKS, 0) is held while a
# place is assigned.
_LOCKS = 0x504B_0000
_counting = threading.Lock()
_held: Counter[tuple[str, int]] = Counter()


def free_places(*, total: int, taken: int, mine: int, leave_one: bool = False) -> int:
    """Return how many more places a connection with `mine` of the `taken` ones may take, of `total`. `leave_one`: save
    the last of several, which work of the same connection that a person waits for then finds free."""
    free = max(0, (total - taken - mine + 1) // 2)
    return free - 1 if leave_one and mine and free else free


def max_places(queue: str) -> int:
    """Return how many places one connection may have at most."""
    return free_places(total=_total(queue), taken=0, mine=0)


def free_places_of(queue: str, connection_id: int) -> int:
    """Return how many more places the connection may take at this moment."""
    if connection.vendor == "postgresql":
        total, taken, mine = _locked(queue, connection_id)
    else:
        total, (taken, mine) = _total(queue), _counted(queue, connection_id)
    return free_places(total=total, taken=taken, mine=mine)


@contextmanager
def worker_place(queue: str, connection_id: int, *, leave_one: bool = False) -> Iterator[bool]:
    """Hold a place while the block runs; yields False where none is free, and then nothing may be done."""
    take, give_back = (_lock, _unlock) if connection.vendor == "postgresql" else (_count, _discount)
    taken = take(queue, connection_id, leave_one=leave_one)
    try:
        yield taken
    finally:
        if taken:
            give_back(queue, connection_id)


def _total(queue: str) -> int:
    """Return the processes of the workers that consume the queue, by their heartbeats; one where nothing is known."""
    alive = Heartbeat.objects.alive(now=database_now())
    return max(1, sum(row.processes or 1 for row in alive if queue in (row.queues or ())))


def _key(queue: str) -> int:
    return _LOCKS + 1 + queue_settings.NAMES.index(queue)


def _lock(queue: str, connection_id: int, *, leave_one: bool) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [_LOCKS])
        total, taken, mine = _locked(queue, connection_id)
        if not free_places(total=total, taken=taken, mine=mine, leave_one=leave_one):
            return False
        cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", [_key(queue), connection_id])
    return True


def _locked(queue: str, connection_id: int) -> tuple[int, int, int]:
    """Return the processes as of `_total`, how many places are taken in all sessions, and how many of them by the
    connection, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT sum(coalesce(nullif(processes, 0), 1)) FROM customers_heartbeat WHERE kind = %s AND "
            "ended_at IS NULL AND seen_at >= clock_timestamp() - make_interval(secs => %s) AND "
            "queues @> to_jsonb(%s::text)), count(*), "
            "count(*) FILTER (WHERE objid::bigint = %s) FROM pg_locks WHERE locktype = 'advisory' AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid::bigint = %s",
            [Heartbeat.Kind.WORKER, SILENT.total_seconds(), queue, connection_id, _key(queue)],
        )
        total, taken, mine = cursor.fetchone()
    return max(1, int(total or 0)), taken, mine


def _unlock(queue: str, connection_id: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_shared(%s, %s)", [_key(queue), connection_id])
    except Error:
        connection.close()  # the lock ends with the session


def _count(queue: str, connection_id: int, *, leave_one: bool) -> bool:
    total = _total(queue)
    with _counting:
        taken, mine = _counted(queue, connection_id)
        if not free_places(total=total, taken=taken, mine=mine, leave_one=leave_one):
            return False
        _held[queue, connection_id] += 1
    return True


def _counted(queue: str, connection_id: int) -> tuple[int, int]:
    return sum(n for (of, _id), n in list(_held.items()) if of == queue), _held[queue, connection_id]


def _discount(queue: str, connection_id: int) -> None:
    with _counting:
        _held[queue, connection_id] -= 1
