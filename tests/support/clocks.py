"""Clocks that a test stops: this process', and the database's, which `portal.clock` reads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection


def stop_clocks(time_machine: Any, at: datetime) -> None:
    """Stop both clocks for the rest of a test. PostgreSQL's is stopped in the transaction of the test alone, by a
    function that is found before its own."""
    time_machine.move_to(at, tick=False)
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA stopped")
        cursor.execute(
            f"CREATE FUNCTION stopped.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
            f"$$ SELECT timestamptz '{at.isoformat()}' $$"
        )
        cursor.execute("SET LOCAL search_path TO stopped, pg_catalog, public")
