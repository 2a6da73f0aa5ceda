"""The clock that decides: the database's, which is one for all processes."""

from __future__ import annotations

from datetime import datetime

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


def local_skew() -> float:
    """Return by how many seconds this machine's clock is ahead of the database's."""
    return (timezone.now() - database_now()).total_seconds()
