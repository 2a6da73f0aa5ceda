"""The triggers that keep columns of accounts equal to what another table says: the kind of an account's connection, and
of its customer what lists filter and sort by.

They are created after `migrate` and not by a migration: on SQLite a trigger that names another table makes every later
migration fail that rebuilds that table, and one of the table itself is dropped with it. PostgreSQL keeps its own
through migrations; a migration back past the column removes it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

ACCOUNT = "customers_account"


@dataclass(frozen=True)
class Copy:
    """`column` of accounts equals `value` of the row of `table` that `key` names. `source`: the column it is made from;
    `name`: what the triggers are called by."""

    name: str
    column: str
    key: str
    table: str
    source: str
    value: str

    @property
    def of_account(self) -> str:
        return f"{ACCOUNT}_{self.name}"

    @property
    def of_source(self) -> str:
        return f"{self.table}_{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        return f"{self.of_account}_insert", f"{self.of_account}_update", self.of_source

    def wanted(self, row: str) -> str:
        return f"(SELECT {self.value.format('c')} FROM {self.table} c WHERE c.id = {row}.{self.key})"  # noqa: S608 our own names

    def follow(self) -> str:
        return f"UPDATE {ACCOUNT} SET {self.column} = {self.value.format('NEW')} WHERE {self.key} = NEW.id"  # noqa: S608 the same

    def sqlite(self) -> tuple[str, ...]:
        insert, update, source = self.names
        correct = f"UPDATE {ACCOUNT} SET {self.column} = {self.wanted('NEW')} WHERE id = NEW.id;"  # noqa: S608 the same
        return (
            f"CREATE TRIGGER {insert} AFTER INSERT ON {ACCOUNT} FOR EACH ROW BEGIN {correct} END",
            f"""
            CREATE TRIGGER {update} AFTER UPDATE OF {self.key}, {self.column} ON {ACCOUNT} FOR EACH ROW
            WHEN NEW.{self.column} IS NOT {self.wanted("NEW")} BEGIN {correct} END
            """,
            f"""
            CREATE TRIGGER {source} AFTER UPDATE OF {self.source} ON {self.table} FOR EACH ROW
            WHEN {self.value.format("NEW")} IS NOT {self.value.format("OLD")} BEGIN {self.follow()}; END
            """,
        )

    def postgresql(self) -> tuple[str, ...]:
        """An update that names neither column runs no trigger: each night updates all accounts. It locks them in the
        order of their keys, and so does what follows a change of the source."""
        return (
            f"""
            CREATE OR REPLACE FUNCTION {self.of_account}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF TG_OP = 'INSERT' OR NEW.{self.key} <> OLD.{self.key}
                OR NEW.{self.column} IS DISTINCT FROM OLD.{self.column} THEN
                    NEW.{self.column} := {self.wanted("NEW")};
                END IF;
                RETURN NEW;
            END $$
            """,
            f"""
            CREATE OR REPLACE TRIGGER {self.of_account} BEFORE INSERT OR UPDATE OF {self.key}, {self.column}
            ON {ACCOUNT} FOR EACH ROW EXECUTE FUNCTION {self.of_account}()
            """,
            f"""
            CREATE OR REPLACE FUNCTION {self.of_source}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF {self.value.format("NEW")} IS DISTINCT FROM {self.value.format("OLD")} THEN
                    PERFORM 1 FROM {ACCOUNT} WHERE {self.key} = NEW.id ORDER BY id FOR NO KEY UPDATE;
                    {self.follow()};
                END IF;
                RETURN NULL;
            END $$
            """,
            f"""
            CREATE OR REPLACE TRIGGER {self.of_source} AFTER UPDATE OF {self.source} ON {self.table} FOR EACH ROW
            EXECUTE FUNCTION {self.of_source}()
            """,
        )

    def correction(self, *, vendor: str) -> str:
        differs = "IS NOT" if vendor == "sqlite" else "IS DISTINCT FROM"
        wanted = self.wanted(ACCOUNT)
        return f"UPDATE {ACCOUNT} SET {self.column} = {wanted} WHERE {self.column} {differs} {wanted}"  # noqa: S608 the same


COPIES = (
    Copy("kind", "provider_kind", "connection_id", "customers_connection", "kind", "{}.kind"),
    Copy("archived", "archived", "customer_id", "customers_customer", "archived_at", "({}.archived_at IS NOT NULL)"),
    Copy("owner", "owner_id", "customer_id", "customers_customer", "owner_id", "{}.owner_id"),
    Copy("company", "company", "customer_id", "customers_customer", "company_name", "lower({}.company_name)"),
)


def before_migrate(*, using: str, **_: Any) -> None:
    if connections[using].vendor == "sqlite":
        remove(using)


def after_migrate(*, using: str, **_: Any) -> None:
    """Create the triggers where their column exists, and correct what was written while they were gone."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if ACCOUNT not in connection.introspection.table_names(cursor):
            return
        columns = {column.name for column in connection.introspection.get_table_description(cursor, ACCOUNT)}
    is_sqlite = connection.vendor == "sqlite"
    # On PostgreSQL one transaction for each: they would lock accounts, customers and connections together.
    with transaction.atomic(using=using) if is_sqlite else nullcontext(), connection.cursor() as cursor:
        if is_sqlite:
            remove(using)
        for copy in (copy for copy in COPIES if copy.column in columns):
            if is_sqlite:
                for statement in copy.sqlite():
                    cursor.execute(statement)
            else:
                editor = connection.schema_editor()
                for statement in copy.postgresql():
                    editor.execute(statement)
            cursor.execute(copy.correction(vendor=connection.vendor))


def remove(using: str, *columns: str) -> None:
    """Remove the triggers of these columns, by default all."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for copy in (copy for copy in COPIES if not columns or copy.column in columns):
            if connection.vendor == "sqlite":
                for name in copy.names:
                    cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"')
                continue
            for function in (copy.of_account, copy.of_source):
                cursor.execute(f"DROP FUNCTION IF EXISTS {function}() CASCADE")
