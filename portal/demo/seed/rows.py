"""Storing very many rows: by COPY on PostgreSQL, by `executemany` on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import monotonic
from types import TracebackType
from typing import Any, Self

from django.core.management.color import no_style
from django.db import connection, models
from django.utils import timezone

_TOGETHER = 10_000


class Rows:
    """Stores rows within a transaction. Values are as both databases read them: texts, numbers, dates as text, UUIDs as
    hexadecimal digits. Keys are given by the caller, from `first_key` on."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self.filled: list[Any] = []

    def __enter__(self) -> Self:
        if connection.vendor == "postgresql":
            self._execute("SET LOCAL statement_timeout = 0")
            self._execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            self._execute("SET LOCAL synchronous_commit = off")
            self._execute("SET LOCAL work_mem = '256MB'")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for statement in connection.ops.sequence_reset_sql(no_style(), self.filled):
                self._execute(statement)

    def first_key(self, model: Any) -> int:
        return (model._base_manager.aggregate(last=models.Max("pk"))["last"] or 0) + 1

    def store(self, model: Any, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
        """Store rows with values for the columns `names`; all other columns have their field's default."""
        at, count = monotonic(), 0
        rest = _defaults(model, names)
        columns = ", ".join(f'"{name}"' for name in (*names, *rest))
        waiting = (row + tuple(rest.values()) for row in rows)
        table = model._meta.db_table
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f'COPY "{table}" ({columns}) FROM STDIN') as copy:
                    for row in waiting:
                        copy.write_row(row)
                        count += 1
            else:
                places = ", ".join(["%s"] * (len(names) + len(rest)))
                statement = f'INSERT INTO "{table}" ({columns}) VALUES ({places})'
                for some in _pieces(waiting):
                    cursor.executemany(statement, some)
                    count += len(some)
        self._stored(model, count, at)

    def add_up(self, model: Any, values: dict[str, str], source: str) -> None:
        """Store what a query makes of stored rows: SQL by column, and what comes after FROM."""
        at = monotonic()
        rest = dict.fromkeys(_defaults(model, tuple(values)), "CURRENT_TIMESTAMP")
        columns = values | rest
        names = ", ".join(f'"{name}"' for name in columns)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {model._meta.db_table} ({names}) SELECT {', '.join(columns.values())} FROM {source}"
            )
            self._stored(model, cursor.rowcount, at)

    def _stored(self, model: Any, count: int, at: float) -> None:
        self.filled.append(model)
        self.say(f"{model._meta.db_table}: {count:,} rows in {monotonic() - at:.1f} s")

    def _execute(self, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _pieces(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while some := list(islice(rows, _TOGETHER)):
        yield some


def _defaults(model: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the value of each column that is not named and can't be left to the database."""
    columns = {field.column: field for field in model._meta.concrete_fields}
    if unknown := set(names) - columns.keys():
        raise ValueError(f"{model.__name__} has no columns {sorted(unknown)}")
    return {
        name: _default(field)
        for name, field in columns.items()
        if not (name in names or field.primary_key or field.null or field.generated)
    }


def _default(field: Any) -> Any:
    if isinstance(field, models.DateTimeField):
        return field.get_db_prep_save(timezone.now(), connection)
    value = field.get_default()
    return "" if value is None else field.get_db_prep_save(value, connection)
