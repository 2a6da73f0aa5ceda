"""The tables that tell what happened cannot be rewritten, and tests can still empty them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, migrations, models, transaction
from django.db.backends.utils import CursorWrapper
from django.db.migrations.loader import MigrationLoader

from portal import audit
from portal.audit.models import AuditEvent, ErasurePermit
from portal.audit.permits import permit_erasure
from portal.audit.triggers import AppendOnly
from portal.clock import database_now


def _run(operation: migrations.operations.base.Operation) -> None:
    # Not entered: on SQLite that wants to be outside a transaction, and a trigger needs nothing of it.
    operation.database_forwards("audit", connection.schema_editor(), None, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_again", [1, 2])
def test_a_transactional_test_leaves_no_rows_behind(_again: int) -> None:
    assert not AuditEvent.objects.exists()
    audit.record(actor=None, verb="x.y", obj=None)
    with pytest.raises(DatabaseError, match="append-only"):
        AuditEvent.objects.all().delete()


@pytest.mark.django_db
def test_columns_named_once_may_be_written_until_they_are() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE answers (id integer primary key, asked text, answer text, answered_at text)")
        _run(AppendOnly("answers", once=["answer", "answered_at"], until="answered_at"))
        cursor.execute("INSERT INTO answers (id, asked) VALUES (1, 'why'), (2, NULL)")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            cursor.execute("UPDATE answers SET asked = 'what' WHERE id = 2")
        cursor.execute("UPDATE answers SET answer = 'so', answered_at = 'now' WHERE id = 1")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            cursor.execute("UPDATE answers SET answer = 'else' WHERE id = 1")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            cursor.execute("DELETE FROM answers WHERE id = 2")
        cursor.execute("SELECT asked, answer FROM answers ORDER BY id")
        assert cursor.fetchall() == [("why", "so"), (None, None)]


@pytest.fixture
def letters() -> Iterator[CursorWrapper]:
    """A cursor on a database with a table `letters` of two rows, the first with an answer."""
    with connection.cursor() as cursor:
        moment = "timestamp with time zone" if connection.vendor == "postgresql" else "datetime"
        columns = f"id integer primary key, name text, answer text, sent_at {moment}, due_on date"
        cursor.execute(f"CREATE TABLE letters ({columns})")
        cursor.execute("INSERT INTO letters VALUES (1, 'Ada', 'so', NULL, NULL), (2, 'Ben', NULL, NULL, NULL)")
        yield cursor


def _guard(**exceptions: Any) -> None:
    _run(AppendOnly("letters", **exceptions))


def _refused(cursor: CursorWrapper, sql: str) -> None:
    with pytest.raises(DatabaseError, match="letters is append-only"), transaction.atomic():
        cursor.execute(sql)


class Letter(models.Model):
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "audit_letters", "letters", False

    def __str__(self) -> str:
        return self.name


@pytest.mark.django_db
class TestErasable:
    def test_only_with_a_permit_for_the_row(self, letters: CursorWrapper) -> None:
        _guard(erasable=["name"])
        erase = "UPDATE letters SET name = '[erased]'"
        _refused(letters, erase)
        with permit_erasure(Letter, [1]):
            _refused(letters, erase)  # the other row has none
            _refused(letters, f"{erase} WHERE id = 2")
            letters.execute(f"{erase} WHERE id = 1")
        _refused(letters, f"{erase} WHERE id = 1")
        letters.execute("SELECT name FROM letters ORDER BY id")
        assert letters.fetchall() == [("[erased]",), ("Ben",)]
        assert not ErasurePermit.objects.exists()

    def test_a_permit_of_another_table_is_none(self, letters: CursorWrapper) -> None:
        _guard(erasable=["name"])
        with permit_erasure(AuditEvent, [1]):
            _refused(letters, "UPDATE letters SET name = '[erased]' WHERE id = 1")

    def test_a_permit_covers_no_other_column_and_no_delete(self, letters: CursorWrapper) -> None:
        _guard(erasable=["name"])
        with permit_erasure(Letter, [1, 2]):
            _refused(letters, "UPDATE letters SET name = '', answer = 'else' WHERE id = 1")
            _refused(letters, "UPDATE letters SET name = '', answer = 'else' WHERE id = 2")  # was null
            _refused(letters, "UPDATE letters SET id = 3 WHERE id = 1")
            _refused(letters, "DELETE FROM letters")

    def test_a_permit_ends_with_an_exception(self, letters: CursorWrapper) -> None:
        _guard(erasable=["name"])
        with pytest.raises(ValueError), permit_erasure(Letter, [1]):  # noqa: PT011  raised here
            raise ValueError
        assert not ErasurePermit.objects.exists()

    def test_together_with_columns_written_once(self, letters: CursorWrapper) -> None:
        _guard(once=["answer", "sent_at"], until="sent_at", erasable=["name"])
        letters.execute("UPDATE letters SET answer = 'so', sent_at = '2026-01-01' WHERE id = 2")
        _refused(letters, "UPDATE letters SET answer = 'else' WHERE id = 2")
        _refused(letters, "UPDATE letters SET name = '' WHERE id = 1")
        with permit_erasure(Letter, [1, 2]):
            _refused(letters, "UPDATE letters SET answer = 'else' WHERE id = 2")
            letters.execute("UPDATE letters SET name = ''")
        _refused(letters, "UPDATE letters SET name = 'Eve'")


@pytest.mark.django_db
class TestAgesBy:
    def _insert(self, cursor: CursorWrapper, column: str, number: int, value: object) -> None:
        cursor.execute(f"INSERT INTO letters (id, {column}) VALUES (%s, %s)", [number, value])  # noqa: S608  own names

    @pytest.mark.parametrize("column", ["sent_at", "due_on"])
    def test_old_rows_alone_are_deleted(self, letters: CursorWrapper, column: str) -> None:
        _guard(ages_by=column, least_days=30)
        for number, days in ((3, 29), (4, 31)):
            moment = database_now() - timedelta(days=days)
            self._insert(letters, column, number, moment if column == "sent_at" else moment.date())
        _refused(letters, "DELETE FROM letters")
        _refused(letters, "DELETE FROM letters WHERE id = 1")  # it has no time
        _refused(letters, "DELETE FROM letters WHERE id = 3")
        _refused(letters, "UPDATE letters SET name = '' WHERE id = 4")
        letters.execute("DELETE FROM letters WHERE id = 4")
        letters.execute("SELECT id FROM letters ORDER BY id")
        assert letters.fetchall() == [(1,), (2,), (3,)]

    def test_the_boundary_is_exact(self, letters: CursorWrapper) -> None:
        _guard(ages_by="sent_at", least_days=30)
        for number, seconds in ((3, -60), (4, 60)):
            self._insert(letters, "sent_at", number, database_now() - timedelta(days=30, seconds=seconds))
        _refused(letters, "DELETE FROM letters WHERE id = 3")
        letters.execute("DELETE FROM letters WHERE id = 4")


@pytest.mark.django_db
def test_nothing_is_truncated(letters: CursorWrapper) -> None:
    _guard(erasable=["name"], ages_by="due_on", least_days=1)
    if connection.vendor == "postgresql":
        _refused(letters, "TRUNCATE letters")
    _guard()
    _refused(letters, "DELETE FROM letters")


@pytest.mark.django_db
@pytest.mark.parametrize("exceptions", [{"erasable": ["nme"]}, {"ages_by": "sent", "least_days": 1}])
def test_a_column_that_does_not_exist_is_refused(letters: CursorWrapper, exceptions: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no column"):
        _guard(**exceptions)


@pytest.mark.django_db
def test_every_table_called_append_only_still_has_its_triggers() -> None:
    """A later migration that rebuilds such a table on SQLite would drop them without a word."""
    disk = MigrationLoader(connection).disk_migrations.values()
    named = {each.table for migration in disk for each in migration.operations if isinstance(each, AppendOnly)}
    tables = named & set(connection.introspection.table_names())  # a later release may remove one
    wanted = {f"{table}_no_{act}" for table in tables for act in ("update", "delete")}
    sql = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if connection.vendor == "postgresql":
        sql = "SELECT tgname FROM pg_trigger"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        there = {row[0] for row in cursor.fetchall()}
    assert {"audit_auditevent", "audit_auditseal", "customers_attempt"} <= tables
    assert wanted - there == set()


@pytest.mark.parametrize(
    "exceptions", [{}, {"once": ["a"], "until": "a"}, {"erasable": ["b"]}, {"ages_by": "c", "least_days": 7}]
)
def test_the_operation_survives_being_written_into_a_migration(exceptions: dict[str, Any]) -> None:
    operation = AppendOnly("t", **exceptions)
    _name, args, kwargs = operation.deconstruct()
    assert kwargs == exceptions
    assert vars(AppendOnly(*args, **kwargs)) == vars(operation)


@pytest.mark.parametrize("half", [{"once": ["a"]}, {"until": "a"}, {"ages_by": "a"}, {"least_days": 1}])
def test_half_an_exception_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="together"):
        AppendOnly("t", **half)
