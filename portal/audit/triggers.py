"""Migration operations that make the database refuse to change or delete rows of a table: all rows, or closed ones."""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations.base import Operation

# The table of `portal.audit.permits.permit_erasure`.
PERMITS = "audit_erasurepermit"


class _Guard(Operation):
    """Triggers on `table` that raise.

    On SQLite Django alters a table by rebuilding it, which drops its triggers: repeat this operation after any
    migration that alters such a table (it replaces existing triggers).
    """

    reversible = True
    reduces_to_sql = True
    atomic = True
    table: str

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.collect_sql:  # `sqlmigrate`: the columns of a table that may not exist yet are needed
            return
        self._drop(schema_editor)
        if schema_editor.connection.vendor == "postgresql":
            self._make_on_postgresql(schema_editor)
        else:
            self._make_on_sqlite(schema_editor)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._drop(schema_editor)

    def _make_on_sqlite(self, schema_editor: Any) -> None:
        raise NotImplementedError

    def _make_on_postgresql(self, schema_editor: Any) -> None:
        raise NotImplementedError

    def _drop(self, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f'DROP FUNCTION IF EXISTS "{self.table}_refuse"() CASCADE')
            return
        for act in ("insert", "update", "delete"):
            schema_editor.execute(f'DROP TRIGGER IF EXISTS "{self.table}_no_{act}"')


class AppendOnly(_Guard):
    """Make `table` append-only: UPDATE and DELETE (and TRUNCATE on PostgreSQL) raise. Exceptions are named:

    - `once` names columns that may still be written while the column `until` is null, for rows whose outcome is added
      later: `AppendOnly("customers_attempt", once=["outcome", "answered_at"], until="answered_at")`.
    - `erasable` names columns with personal data. An UPDATE may change these alone, and only in rows for which the
      transaction holds a permit: `with permit_erasure(Attempt, ids):` (portal/audit/permits.py). The table has an
      integer primary key "id".
    - `ages_by` names the column with the time, or the day, of a row. A DELETE may remove rows of which this is more
      than `least_days` days ago by the database's clock, in UTC. A row without a time is never removed.

    A migration with `erasable` depends on ("audit", "0005_erasure_permits"). An exception added later is a further
    operation with all of the table's exceptions: it replaces the triggers.
    """

    def __init__(
        self,
        table: str,
        once: list[str] | None = None,
        until: str = "",
        *,
        erasable: list[str] | None = None,
        ages_by: str = "",
        least_days: int = 0,
    ) -> None:
        if bool(once) != bool(until):
            raise ValueError("`once` and `until` go together.")
        if bool(ages_by) != (least_days > 0):
            raise ValueError("`ages_by` and `least_days`, at least one day, go together.")
        self.table, self.once, self.until = table, list(once or []), until
        self.erasable, self.ages_by, self.least_days = list(erasable or []), ages_by, least_days

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        kwargs: dict[str, Any] = {"once": self.once, "until": self.until} if self.once else {}
        if self.erasable:
            kwargs["erasable"] = self.erasable
        if self.ages_by:
            kwargs |= {"ages_by": self.ages_by, "least_days": self.least_days}
        return (type(self).__name__, [self.table], kwargs)

    def describe(self) -> str:
        return f"Make {self.table} append-only"

    @property
    def _says(self) -> str:
        return f"{self.table} is append-only"

    def _columns(self, schema_editor: Any) -> list[str]:
        connection = schema_editor.connection
        with connection.cursor() as cursor:
            columns = [column.name for column in connection.introspection.get_table_description(cursor, self.table)]
        named = {*self.once, *self.erasable, *filter(None, (self.until, self.ages_by))}
        if unknown := named - set(columns):
            raise ValueError(f"{self.table} has no column {', '.join(sorted(unknown))}.")
        return columns

    def _changed(self, schema_editor: Any, differs: str, *, but: list[str]) -> str:
        """Return the condition that a column other than these changes; `differs` is the null-safe "is not"."""
        fixed = [name for name in self._columns(schema_editor) if name not in but]
        return " OR ".join(f'NEW."{name}" {differs} OLD."{name}"' for name in fixed)

    def _forbidden(self, schema_editor: Any, differs: str) -> str:
        """Return the condition for refusing an UPDATE that nothing but `once` allows; "" = always."""
        changed = self._changed(schema_editor, differs, but=self.once)
        return f'OLD."{self.until}" IS NOT NULL OR {changed}' if self.once else ""

    def _erases(self, schema_editor: Any, differs: str) -> str:
        """Return the condition for an UPDATE that erases with a permit; "" = there is none."""
        if not self.erasable:
            return ""
        permit = f"SELECT 1 FROM {PERMITS} p WHERE p.of_table = '{self.table}' AND p.row = OLD.id"  # noqa: S608  names of a migration
        return f"NOT ({self._changed(schema_editor, differs, but=self.erasable)}) AND EXISTS ({permit})"

    def _make_on_sqlite(self, schema_editor: Any) -> None:
        forbidden = self._forbidden(schema_editor, "IS NOT")
        erases = self._erases(schema_editor, "IS NOT")
        conditions = [f"({forbidden})"] if forbidden else []
        conditions += [f"NOT ({erases})"] if erases else []
        aged = f"OLD.\"{self.ages_by}\" < datetime('now', '-{self.least_days} days')" if self.ages_by else ""
        for act, when in (
            ("UPDATE", " AND ".join(conditions)),
            ("DELETE", f"coalesce({aged}, 0) = 0" if aged else ""),
        ):
            schema_editor.execute(
                f'CREATE TRIGGER "{self.table}_no_{act.lower()}" BEFORE {act} ON "{self.table}" FOR EACH ROW '
                f"{f'WHEN {when} ' if when else ''}BEGIN SELECT RAISE(ABORT, '{self._says}'); END"
            )

    def _make_on_postgresql(self, schema_editor: Any) -> None:
        # In the function, not in WHEN, which may not look at other tables.
        allows = ""
        if erases := self._erases(schema_editor, "IS DISTINCT FROM"):
            allows += f"IF TG_OP = 'UPDATE' THEN IF {erases} THEN RETURN NEW; END IF; END IF; "
        if self.ages_by:
            aged = f"OLD.\"{self.ages_by}\" < now() - interval '{self.least_days} days'"
            allows += f"IF TG_OP = 'DELETE' THEN IF {aged} THEN RETURN OLD; END IF; END IF; "
        schema_editor.execute(
            f'CREATE FUNCTION "{self.table}_refuse"() RETURNS trigger LANGUAGE plpgsql AS '
            f"$$ BEGIN {allows}RAISE EXCEPTION '{self._says}' "
            f"USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        when = self._forbidden(schema_editor, "IS DISTINCT FROM")
        for act, each, condition in (
            ("UPDATE", "ROW", f"WHEN ({when}) " if when else ""),
            ("DELETE", "ROW", ""),
            ("TRUNCATE", "STATEMENT", ""),
        ):
            schema_editor.execute(
                f'CREATE TRIGGER "{self.table}_no_{act.lower()}" BEFORE {act} ON "{self.table}" FOR EACH {each} '
                f'{condition}EXECUTE FUNCTION "{self.table}_refuse"()'
            )


class Frozen(_Guard):
    """Make rows of `table` unchangeable once they belong to what is closed.

    `rows` is the SQL condition for such a row, with `{row}` in the place of it; it may look at other tables. A row that
    fulfills it is neither changed nor deleted. No row is inserted, or changed, so that it fulfills `joins`: by default
    the same condition. TRUNCATE raises on PostgreSQL.

        Frozen("billing_statementline", rows="EXISTS (SELECT 1 FROM billing_statement s WHERE s.id = ...)")

    On PostgreSQL each statement is checked once, not each row: 100,000 rows are one query. The condition sees other
    tables as they are for the transaction, so who closes something and who adds to it need a lock of their own.
    """

    def __init__(self, table: str, rows: str, joins: str = "") -> None:
        self.table, self.rows, self.joins = table, rows, joins

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        kwargs = {"joins": self.joins} if self.joins else {}
        return (type(self).__name__, [self.table, self.rows], kwargs)

    def describe(self) -> str:
        return f"Freeze closed rows of {self.table}"

    def _was(self, row: str) -> str:
        return self.rows.format(row=row)

    def _becomes(self, row: str) -> str:
        return (self.joins or self.rows).format(row=row)

    @property
    def _says(self) -> str:
        return f"{self.table} is closed"

    def _make_on_sqlite(self, schema_editor: Any) -> None:
        for act, condition in (
            ("INSERT", self._becomes("NEW")),
            ("UPDATE", f"{self._was('OLD')} OR {self._becomes('NEW')}"),
            ("DELETE", self._was("OLD")),
        ):
            schema_editor.execute(
                f'CREATE TRIGGER "{self.table}_no_{act.lower()}" BEFORE {act} ON "{self.table}" FOR EACH ROW '
                f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{self._says}'); END"
            )

    def _make_on_postgresql(self, schema_editor: Any) -> None:
        refuse = f"RAISE EXCEPTION '{self._says}' USING ERRCODE = 'integrity_constraint_violation';"
        schema_editor.execute(
            f'CREATE FUNCTION "{self.table}_refuse"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN '  # noqa: S608  conditions of a migration
            f"IF TG_OP = 'TRUNCATE' THEN {refuse} END IF; "
            # One IF within the other: a table of rows exists for its own operations alone.
            f"IF TG_OP <> 'INSERT' THEN IF EXISTS (SELECT 1 FROM old_rows WHERE {self._was('old_rows')}) "
            f"THEN {refuse} END IF; END IF; "
            f"IF TG_OP <> 'DELETE' THEN IF EXISTS (SELECT 1 FROM new_rows WHERE {self._becomes('new_rows')}) "
            f"THEN {refuse} END IF; END IF; "
            f"RETURN NULL; END $$"
        )
        old, new = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
        for act, tables in (("INSERT", new), ("UPDATE", f"{old} {new}"), ("DELETE", old), ("TRUNCATE", "")):
            schema_editor.execute(
                f'CREATE TRIGGER "{self.table}_no_{act.lower()}" {"AFTER" if tables else "BEFORE"} {act} '
                f'ON "{self.table}" {f"REFERENCING {tables} " if tables else ""}FOR EACH STATEMENT '
                f'EXECUTE FUNCTION "{self.table}_refuse"()'
            )
