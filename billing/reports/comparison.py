"""The figures of a month that differ between two ledger batches, found and sorted by the database in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from billing.models import NOT_OVER
from billing.reports.as_of import FiguresAsOf, open_sums
from billing.reports.past_readings import PAST_READING, READING, SUMS, Sql, SqlStatement, sql_of
from billing.usage.figures import FIGURE

# What a change is a change of.
VALUES = tuple(name for name in FIGURE if name != "month")
_VERSION = ("period", "version", *VALUES)
_END = ("period", "version", "reading", *VALUES)
_CHANGED = ("period", "before_version", "before_reading", "after_version", "after_reading", "used", "settled")
_OPEN = {"status": "'open'", "reason": "''", "high": "NULL", "overage_high": "NULL"}


class FigureSource(NamedTuple):
    """The row that holds a figure: a version, or a reading of an open billing period."""

    period: int
    version: int | None
    reading: int | None


class ChangedFigure(NamedTuple):
    """The two ends of a figure that differs; None where it was not in the month."""

    before: FigureSource | None
    after: FigureSource | None


@dataclass(frozen=True)
class Comparison:
    """Some of the changed figures, the greatest change first, and how many there are. `before` and `after`: the sums by
    currency of the open figures that were looked up on the way."""

    rows: list[ChangedFigure]
    count: int
    settled: int
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


def compare_figures(before: FiguresAsOf, after: FiguresAsOf, *, only_settled: bool, part: slice) -> Comparison:
    """Return what differs. A version or a row that is valid at both ends is not compared with itself."""
    statement = SqlStatement()
    statement.add_last_readings("open_before", before.earlier, before.batch)
    statement.add_last_readings("open_after", after.earlier, after.batch)
    ended = before.versions.filter(to_batch__lte=after.batch)
    statement.add("ended", _VERSION, sql_of(ended.values_list("period", "pk", *VALUES)))
    begun = after.versions.filter(from_batch__gt=before.batch)
    statement.add("begun", _VERSION, sql_of(begun.values_list("period", "pk", *VALUES)))
    changed = after.unchanged.filter(batch__gt=before.batch)
    of_readings = (f"current__{name}" for name in READING)
    last = sql_of(changed.values_list("pk", "start_on", "end_on", "current", *of_readings))
    statement.add("last_readings", PAST_READING, last)
    statement.add("before", _END, _versions("ended"), _open("open_before"))
    statement.add("after", _END, _versions("begun"), _open("last_readings"), _open("open_after"))
    statement.add("changed", _CHANGED, *_compared())
    where = "WHERE settled = 1" if only_settled else ""
    columns = ", ".join(_CHANGED[:5])
    page = f"SELECT {columns} FROM changed {where} ORDER BY ABS(used) DESC, period LIMIT %s OFFSET %s"
    rows = statement.rows(
        (f"SELECT 'before', currency, {SUMS} FROM open_before GROUP BY currency", ()),
        (f"SELECT 'after', currency, {SUMS} FROM open_after GROUP BY currency", ()),
        ("SELECT 'count', NULL, COUNT(*), COALESCE(SUM(settled), 0), 0, 0, 0 FROM changed", ()),
        (f"SELECT 'row', NULL, {columns} FROM ({page}) page", (part.stop - part.start, part.start)),
    )
    (count,) = (row for row in rows if row[0] == "count")
    return Comparison(
        rows=[_changed_figure(*row[2:]) for row in rows if row[0] == "row"],
        count=int(count[2]),
        settled=int(count[3]),
        before=[open_sums(row[1:]) for row in rows if row[0] == "before"],
        after=[open_sums(row[1:]) for row in rows if row[0] == "after"],
    )


def _versions(name: str) -> Sql:
    return f"SELECT period, version, NULL, {', '.join(VALUES)} FROM {name}", ()


def _open(name: str) -> Sql:
    """Return the open figures of a part as versions would be."""
    return f"SELECT period, NULL, reading, {', '.join(_OPEN.get(each, each) for each in VALUES)} FROM {name}", ()


def _compared() -> list[Sql]:
    """Return the rows that differ. PostgreSQL hashes both ends for a full join, whatever it expects of them; SQLite
    knows none before 3.39."""
    is_postgres = connection.vendor == "postgresql"
    unlike = "IS DISTINCT FROM" if is_postgres else "IS NOT"
    differ = " OR ".join(f"b.{each} {unlike} a.{each}" for each in ("period", *VALUES))
    used = "COALESCE(a.used, 0) - COALESCE(b.used, 0)"
    not_over = ", ".join(f"'{status}'" for status in NOT_OVER)
    settled = f"CASE WHEN b.period IS NULL OR b.status IN ({not_over}) THEN 0 ELSE 1 END"
    columns = f"COALESCE(b.period, a.period), b.version, b.reading, a.version, a.reading, {used}, {settled}"
    if is_postgres:
        return [(f"SELECT {columns} FROM before b FULL JOIN after a ON a.period = b.period WHERE {differ}", ())]
    changed = f"SELECT {columns} FROM before b LEFT JOIN after a ON a.period = b.period WHERE {differ}"
    new = f"SELECT {columns} FROM after a LEFT JOIN before b ON b.period = a.period WHERE b.period IS NULL"
    return [(changed, ()), (new, ())]


def _changed_figure(period: int, *ends: int | None) -> ChangedFigure:
    before_version, before_reading, after_version, after_reading = (each and int(each) for each in ends)
    before = FigureSource(int(period), before_version, before_reading)
    after = FigureSource(int(period), after_version, after_reading)
    return ChangedFigure(before if any(before[1:]) else None, after if any(after[1:]) else None)
