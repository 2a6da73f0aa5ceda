"""The last reading of many billing periods up to a ledger batch, as parts of one statement of the database.

An open figure has no versions. What it was is looked up in an index, one look-up per figure, however often it was read
since. `UsageSnapshot`'s index has its columns in this order, so that look-ups of a month lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from billing.models import FigureVersion, UsagePeriod, UsageSnapshot

# A statement, and the values of its placeholders.
Sql = tuple[str, tuple[Any, ...]]
_PERIOD = ("id", "account_id", "reported_start_on", "start_on", "end_on")
READING = ("used", "allowed", "overage", "package", "allocated_cost", "currency")
PAST_READING = ("period", "start_on", "end_on", "reading", *READING)
# Rows, and the sums of their emails, overage and cost.
SUMS = "COUNT(*), COALESCE(SUM(used), 0), COALESCE(SUM(overage), 0), COUNT(allocated_cost), SUM(allocated_cost)"
NO_LIMIT = 2**62
_PERIODS, _READINGS = UsagePeriod._meta.db_table, UsageSnapshot._meta.db_table
_LAST = "ORDER BY l.as_of DESC, l.seq DESC, l.id DESC LIMIT 1"
_BY_THEN = "l.account_id = p.account_id AND l.period_start_on = p.reported_start_on AND l.batch <= %s"


@dataclass(frozen=True)
class EarlierFigures:
    """Figures that were open and have changed since: those without versions, and the first versions of the others."""

    unversioned: QuerySet[UsagePeriod]
    versioned_later: QuerySet[FigureVersion]


class SqlStatement:
    """A statement made of named parts, each of which can read those before it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._params: list[Any] = []

    def add(self, name: str, columns: Sequence[str], *selects: Sql) -> None:
        """Add a part: the rows of these statements together."""
        self._parts.append(f"{name} ({', '.join(columns)}) AS ({' UNION ALL '.join(text for text, _ in selects)})")
        self._params += [each for _, params in selects for each in params]

    def add_last_readings(self, name: str, figures: EarlierFigures, batch: int) -> None:
        """Add a part: the billing periods that were read up to the batch, each with its last reading by then."""
        self.add(f"{name}_later", ("period",), sql_of(figures.versioned_later.values_list("period")))
        unversioned = sql_of(figures.unversioned.values_list(*_PERIOD))
        self.add(f"{name}_periods", _PERIOD, unversioned, (_periods_of(f"{name}_later"), ()))
        read = ", ".join(f"s.{column}" for column in READING)
        columns = f"p.id, p.start_on, p.end_on, s.id, {read}"
        self.add(name, PAST_READING, (f"SELECT {columns} FROM {name}_periods p {_last_reading()}", (batch,)))

    def rows(self, *selects: Sql) -> list[tuple[Any, ...]]:
        """Run it; return the rows of these statements together."""
        wanted = " UNION ALL ".join(text for text, _ in selects)
        params = [*self._params, *(each for _, params in selects for each in params)]
        with connection.cursor() as cursor:
            cursor.execute(f"WITH {', '.join(self._parts)} {wanted}", params)
            return list(cursor.fetchall())


def sql_of(rows: QuerySet[Any, Any]) -> Sql:
    return rows.order_by().query.sql_with_params()


def _periods_of(name: str) -> str:
    """Return the billing periods of a part. Each is looked up by its key: PostgreSQL can't know that a month has so few
    of them, and would read all."""
    columns = ", ".join(f"p.{each}" for each in _PERIOD)
    if connection.vendor != "postgresql":
        return f"SELECT {columns} FROM {name} v JOIN {_PERIODS} p ON p.id = v.period AND NOT p.joined"
    of_period = f"SELECT {columns} FROM {_PERIODS} p WHERE p.id = v.period AND NOT p.joined OFFSET 0"
    return f"SELECT {columns} FROM {name} v CROSS JOIN LATERAL ({of_period}) p"


def _last_reading() -> str:
    """Return the join of a billing period with its last reading; its placeholder is a ledger batch."""
    if connection.vendor != "postgresql":  # SQLite has no lateral join
        return f"JOIN {_READINGS} s ON s.id = (SELECT l.id FROM {_READINGS} l WHERE {_BY_THEN} {_LAST})"
    return f"CROSS JOIN LATERAL (SELECT l.* FROM {_READINGS} l WHERE {_BY_THEN} {_LAST}) s"
