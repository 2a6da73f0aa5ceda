"""Database clock, shared by all processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from django.db import connection
from django.utils import timezone


def database_now() -> datetime:
    """Return the database's time (aware UTC), also inside a transaction.

    Workers run on several machines, whose clocks differ. SQLite has no clock; its file is on this machine.
    """
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return now  # type: ignore[no-any-return]  # a cursor's row has no types


def database_clock() -> Callable[[], datetime]:
    """Return a clock that starts at the database's time and advances locally, for threads without database access, and
    no longer than a task lasts. Changes of the machine's clock have no effect."""
    at, since = database_now(), monotonic()
    return lambda: at + timedelta(seconds=monotonic() - since)


def local_skew() -> float:
    """Return the seconds this machine's clock is ahead of the database's."""
    return (timezone.now() - database_now()).total_seconds()
