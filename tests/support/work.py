"""How much work a query is for the database, as a number that does not depend on the machine or the load."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet


def work_of(found: QuerySet[Any]) -> int:
    """Return the rows that pass through every node of the plan (PostgreSQL) or the steps of the program (SQLite)."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
            sql, params = found.query.sql_with_params()
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
            ((plan,),) = cursor.fetchone()
        return _rows(plan["Plan"])
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    connection.ensure_connection()
    connection.connection.set_progress_handler(count, 100)
    try:
        list(found)
    finally:
        connection.connection.set_progress_handler(None, 0)
    return steps[0] * 100


def _rows(node: dict[str, Any]) -> int:
    read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return int(read * node["Actual Loops"]) + sum(_rows(each) for each in node.get("Plans", ()))


def plan_of(sql: str) -> str:
    """Return the plan of a statement as text. Tables of a test are small: PostgreSQL is told not to read them whole,
    and not to sort."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
            cursor.execute(
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
            )
            cursor.execute(f"EXPLAIN {sql}")
            return "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(row[-1] for row in cursor.fetchall())
