"""Counts of several lists in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet


def counts_of(lists: Sequence[QuerySet[Any]]) -> list[int]:
    """Return how many rows each unordered list has. A slice bounds the work: what is beyond it is not read.

    What a list counts are its rows, or the values it was told to select (`.values("account").distinct()`).
    """
    parts: list[str] = []
    params: list[Any] = []
    for n, rows in enumerate(lists):
        try:
            statement, values = (rows if rows.query.values_select else rows.values("pk")).query.sql_with_params()
        except EmptyResultSet:
            parts.append("0")
            continue
        parts.append(f"(SELECT COUNT(*) FROM ({statement}) list_{n})")  # noqa: S608 compiled by Django
        params.extend(values)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", params)
        return list(cursor.fetchone())
