"""Rows of a run of the bench: a value beside the floor of the same run, and what it must reach."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One measured value. `must` bounds the ratio to the floor, or the value itself where there is no floor.

    `ratio`: how the value compares with its floor; `better` says which way what is bounded should go. `spread`: the
    least and the most of the rounds, in the value's unit. `statements`: SQL statements of a page.
    """

    group: str
    name: str
    value: float
    unit: str
    floor: float | None
    ratio: float | None
    must: float | None
    better: Literal["higher", "lower"]
    spread: tuple[float, float] | None = None
    statements: int | None = None

    @property
    def bounded(self) -> float:
        return self.value if self.ratio is None else self.ratio

    @property
    def passed(self) -> bool:
        """Whether the bounded value is good enough; a row without a bound always passes."""
        if self.must is None:
            return True
        return self.bounded >= self.must if self.better == "higher" else self.bounded <= self.must


def table(rows: Iterable[Row]) -> str:
    """Return the rows as one table, those that miss what they must reach marked."""
    lines = [_HEAD]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(group)
        lines.append(_line(row))
    return "\n".join(lines)


def compared(before: Iterable[Row], after: Iterable[Row]) -> str:
    """Return a table of two runs: what is bounded of each, and the change. Rows of one run alone have no change."""
    old = {(row.group, row.name): row for row in before}
    new = {(row.group, row.name): row for row in after}
    lines = [f"  {'':44} {'before':>10} {'after':>10} {'change':>8}"]
    for key in dict.fromkeys((*old, *new)):
        was, is_ = (None if row is None else row.bounded for row in (old.get(key), new.get(key)))
        change = f"{is_ / was - 1:+8.0%}" if was and is_ is not None else ""
        lines.append(f"  {': '.join(key)[:44]:44} {_number(was)} {_number(is_)} {change}")
    return "\n".join(lines)


def store(rows: Sequence[Row], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def load(file: Path) -> list[Row]:
    stored = json.loads(file.read_text())
    return [Row(**row | {"spread": row["spread"] and tuple(row["spread"])}) for row in stored]


_HEAD = f"  {'':44} {'value':>10} {'':5} {'floor':>10} {'ratio':>10} {'must':>8}  spread, statements"


def _number(number: float | None) -> str:
    if number is None:
        return f"{'':10}"
    return f"{number:10,.0f}" if abs(number) >= 1_000 else f"{number:10.2f}"


def _line(row: Row) -> str:
    must = "" if row.must is None else f"{'>=' if row.better == 'higher' else '<='} {row.must:g}"
    spread = "" if row.spread is None else f"{row.spread[0]:.1f} to {row.spread[1]:.1f}"
    statements = "" if row.statements is None else f"{row.statements} st."
    more = ", ".join(filter(None, (spread, statements, "" if row.passed else "MISSES")))
    numbers = f"{_number(row.value)} {row.unit:5} {_number(row.floor)} {_number(row.ratio)}"
    return f"  {row.name[:44]:44} {numbers} {must:>8}  {more}".rstrip()
