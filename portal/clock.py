"""The clock that decides: the database's, which is one for all processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from django.db import connection
from django.utils import timezone


def database_now() -> datetime:
    """Return the database's time (aware UTC), also inside a transaction.

    Workers run on several machines, whose clocks differ. SQLite has no clock of its own: its file is on this machine.
    """
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]  # a cursor's row has no types


def database_clock() -> Callable[[], datetime]:
    """The database's time, asked once and moved on here, for threads that may not ask the database and for no longer
    than a task lasts. A machine's clock that is wrong or set meanwhile does not matter."""
    at, since = database_now(), monotonic()
    return lambda: at + timedelta(seconds=monotonic() - since)


def local_skew() -> float:
    """Return by how many seconds this machine's clock is ahead of the database's."""
    return (timezone.now() - database_now()).total_seconds()
