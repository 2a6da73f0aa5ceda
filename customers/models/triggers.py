"""The trigger that keeps `Account.provider_kind` equal to the kind of the account's connection.

It is created after `migrate` and not by a migration: on SQLite a trigger that names another table makes every later
migration fail that rebuilds that table, and one of the table itself is dropped with it. PostgreSQL keeps its own
through migrations; a migration back past the column removes it.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction

ACCOUNT = "customers_account"
NAMES = ("customers_account_kind_insert", "customers_account_kind_update", "customers_connection_kind")

_SQLITE = (
    """
    CREATE TRIGGER customers_account_kind_insert AFTER INSERT ON customers_account FOR EACH ROW BEGIN
        UPDATE customers_account
        SET provider_kind = (SELECT kind FROM customers_connection WHERE id = NEW.connection_id) WHERE id = NEW.id;
    END
    """,
    """
    CREATE TRIGGER customers_account_kind_update AFTER UPDATE OF connection_id, provider_kind ON customers_account
    FOR EACH ROW WHEN NEW.provider_kind IS NOT (SELECT kind FROM customers_connection WHERE id = NEW.connection_id)
    BEGIN
        UPDATE customers_account
        SET provider_kind = (SELECT kind FROM customers_connection WHERE id = NEW.connection_id) WHERE id = NEW.id;
    END
    """,
    """
    CREATE TRIGGER customers_connection_kind AFTER UPDATE OF kind ON customers_connection FOR EACH ROW BEGIN
        UPDATE customers_account SET provider_kind = NEW.kind WHERE connection_id = NEW.id;
    END
    """,
)
_POSTGRESQL = (
    """
    CREATE OR REPLACE FUNCTION customers_account_kind() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'INSERT' OR NEW.connection_id <> OLD.connection_id OR NEW.provider_kind <> OLD.provider_kind THEN
            NEW.provider_kind := (SELECT kind FROM customers_connection WHERE id = NEW.connection_id);
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER customers_account_kind BEFORE INSERT OR UPDATE ON customers_account FOR EACH ROW
    EXECUTE FUNCTION customers_account_kind()
    """,
    """
    CREATE OR REPLACE FUNCTION customers_connection_kind() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.kind <> OLD.kind THEN
            UPDATE customers_account SET provider_kind = NEW.kind WHERE connection_id = NEW.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER customers_connection_kind AFTER UPDATE ON customers_connection FOR EACH ROW
    EXECUTE FUNCTION customers_connection_kind()
    """,
)
_CORRECT = """
    UPDATE customers_account SET provider_kind = (SELECT kind FROM customers_connection c WHERE c.id = connection_id)
    WHERE provider_kind <> (SELECT kind FROM customers_connection c WHERE c.id = connection_id)
"""


def before_migrate(*, using: str, **_: Any) -> None:
    if connections[using].vendor == "sqlite":
        remove(using)


def after_migrate(*, using: str, **_: Any) -> None:
    """Create the triggers where the column exists, and correct what was written while they were gone."""
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if ACCOUNT not in connection.introspection.table_names(cursor):
            return
        columns = connection.introspection.get_table_description(cursor, ACCOUNT)
        if not any(column.name == "provider_kind" for column in columns):
            return
        if connection.vendor == "sqlite":
            remove(using)
        for statement in _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL:
            cursor.execute(statement)
        cursor.execute(_CORRECT)


def remove(using: str) -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for name in NAMES:
                cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"')
            return
        for function in ("customers_account_kind", "customers_connection_kind"):
            cursor.execute(f"DROP FUNCTION IF EXISTS {function}() CASCADE")
