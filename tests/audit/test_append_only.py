"""The tables that tell what happened cannot be rewritten, and tests can still empty them."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, migrations, transaction
from django.db.migrations.loader import MigrationLoader

from portal import audit
from portal.audit.models import AuditEvent
from portal.audit.triggers import AppendOnly


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


def test_the_operation_survives_being_written_into_a_migration() -> None:
    operation = AppendOnly("t", once=["a"], until="a")
    _name, args, kwargs = operation.deconstruct()
    assert vars(AppendOnly(*args, **kwargs)) == vars(operation)
    with pytest.raises(ValueError, match="together"):
        AppendOnly("t", once=["a"])
