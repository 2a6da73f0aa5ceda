"""Pages whose parts must not contradict each other read the database as of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


@contextmanager
def consistent_read() -> Iterator[None]:
    """Show every query of the block the database as of its first one. Also a decorator of views.

    The block only reads, and calls no provider. Within another transaction it has no effect.
    """
    if connection.in_atomic_block:
        yield
        return
    with _deferred(), transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def streamed_read(*, whole_list: bool = False) -> Iterator[None]:
    """A `consistent_read` of a file that is sent while it is read.

    Outside a transaction, PostgreSQL's cursor would first run to its end and keep all rows. A slow download lets the
    transaction wait between two pieces. `whole_list`: walk along an index instead of sorting, so that the first row is
    there at once; with filters that leave few rows, such a plan can take minutes.
    """
    with consistent_read():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL cursor_tuple_fraction = {0.001 if whole_list else 0.1}")
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '10min'")
        yield


@contextmanager
def _deferred() -> Iterator[None]:
    """Let SQLite begin without the write lock, which a reader does not need."""
    database: Any = connection
    mode = getattr(database, "transaction_mode", None)
    database.transaction_mode = "DEFERRED"
    try:
        yield
    finally:
        database.transaction_mode = mode
