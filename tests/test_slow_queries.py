"""Slow statements are logged with their shape and cause, and without a value."""

from __future__ import annotations

import json

import pytest
import structlog
from django.db import DatabaseError, connection
from pytest_django import Settings

from customers.models import Customer
from portal import slow_queries
from tests.house.test_logs import Written


@pytest.fixture
def everything_is_slow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the wrapper jumps a second with each look at it."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(slow_queries.time, "perf_counter", lambda: float(next(seconds)))
    settings.SLOW_QUERY_MS = 1000


def _lines(written: Written) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.text.splitlines()]


@pytest.mark.django_db
def test_a_slow_statement_is_a_line_without_its_values(everything_is_slow: None) -> None:
    with (
        Written(json_lines=True, name="portal.slow_queries") as written,
        structlog.contextvars.bound_contextvars(request_id="r1", operation="op_1"),
    ):
        list(Customer.objects.filter(company_name="Aurora Oy", pk__in=[4711, 4712, 4713]))
        with connection.cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("SELECT 'Borealis', absent FROM customers_customer WHERE id = %s", [4714])
    first, second = _lines(written)
    assert (first["event"], first["level"], first["ms"]) == ("database.slow_query", "warning", 1000)
    assert (first["request_id"], first["operation"]) == ("r1", "op_1")
    assert 'FROM "customers_customer"' in str(first["statement"])
    assert "IN (%s, ...)" in str(first["statement"])
    assert second["statement"] == "SELECT '...', absent FROM customers_customer WHERE id = %s"
    assert [value for value in ("Aurora", "471", "Borealis") if value in written.text] == []


@pytest.mark.django_db
def test_a_quick_statement_is_none(everything_is_slow: None, settings: Settings) -> None:
    settings.SLOW_QUERY_MS = 1001
    with Written(json_lines=True, name="portal.slow_queries") as written:
        Customer.objects.exists()
    assert written.text == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("limit", "watched"), [(0, 0), (500, 1)])
def test_a_new_connection_is_watched_once(settings: Settings, limit: int, watched: int) -> None:
    settings.SLOW_QUERY_MS = limit
    before = connection.execute_wrappers[:]
    connection.execute_wrappers.clear()
    try:
        for _ in range(2):
            connection.close()
            connection.ensure_connection()
        assert connection.execute_wrappers.count(slow_queries._timed) == watched
    finally:
        connection.execute_wrappers[:] = before


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT  a\n FROM b WHERE c IN (%s, %s,%s)", "SELECT a FROM b WHERE c IN (%s, ...)"),
        ("SELECT 'O''Brien, 5' FROM b", "SELECT '...' FROM b"),
        ("INSERT INTO b (c, d) VALUES (%s, %s), (%s, %s)", "INSERT INTO b (c, d) VALUES (%s, ...), ..."),
        ("SELECT " + "x, " * 4000, ("SELECT " + "x, " * 4000)[:2000]),
    ],
)
def test_the_shape_of_a_statement(sql: str, expected: str) -> None:
    assert slow_queries.shape_of(sql) == expected
