"""A schema change on PostgreSQL that finds its table locked, as by the daily backup."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import OperationalError, connection

from portal.postgresql import base

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for all"),
    pytest.mark.django_db(transaction=True),
]
CHANGE = "ALTER TABLE locked ADD COLUMN new integer"


@pytest.fixture
def backup() -> Iterator[psycopg.Connection]:
    """A session that has read the table, as pg_dump does, and holds its lock."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE locked ()")
    settings = connection.get_connection_params()
    with psycopg.connect(
        host=settings.get("host"), port=settings.get("port"), user=settings.get("user"),
        password=settings.get("password"), dbname=settings["dbname"], application_name="pg_dump",
    ) as one:  # fmt: skip
        one.execute("LOCK TABLE locked IN ACCESS SHARE MODE")
        yield one
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE locked")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "LOCK_MS", 10)
    monkeypatch.setattr(base, "TRIES", 2)
    monkeypatch.setattr(base, "REPORT_SECONDS", 0)


def _pauses(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> list[float]:
    """The pauses between two tries. After the fifth, `then` is called."""
    found: list[float] = []

    def pause(seconds: float) -> None:
        found.append(seconds)
        if len(found) == 5:
            then()

    monkeypatch.setattr(time, "sleep", pause)
    return found


def test_a_migration_that_cannot_be_repeated_goes_on(
    backup: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses = _pauses(monkeypatch, backup.rollback)
    with connection.schema_editor(atomic=False) as editor:
        editor.execute(CHANGE)
    assert pauses == [base.PAUSE_SECONDS] * 5
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 5
    assert told[0].startswith(f"Waiting for a lock. Sessions that hold one: {backup.info.backend_pid} (pg_dump, ")
    with connection.cursor() as cursor:
        assert [column.name for column in connection.introspection.get_table_description(cursor, "locked")] == ["new"]


def test_one_in_a_transaction_gives_up(backup: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = _pauses(monkeypatch, backup.rollback)
    with pytest.raises(OperationalError), connection.schema_editor(atomic=True) as editor:
        editor.execute(CHANGE)
    assert len(pauses) == 1
