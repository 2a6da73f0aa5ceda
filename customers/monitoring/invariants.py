"""Integrity checks: invariants of the tables that hold at any time, whatever happens to processes and networks.

Each is one query that returns the violating rows, described for the admin who has to check them; no rows is the
expected result. The numbers are those of docs/reference/system-status.md. Apps above this one register theirs when they
are loaded (`AppConfig.ready`). Nothing here changes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from time import perf_counter

import structlog
from django.db import DatabaseError
from django.utils.functional import Promise

log = structlog.get_logger(__name__)

# So many rows are stored of each: checking begins with the first.
ROWS_KEPT = 20
Violations = Callable[[datetime], Iterable[str]]


@dataclass(frozen=True)
class Invariant:
    code: str
    holds: str | Promise
    violations: Violations


@dataclass(frozen=True)
class InvariantFinding:
    """The result of one invariant's query. `more`: there are others besides `rows`; `error`: the query failed."""

    code: str
    rows: list[str]
    more: bool = False
    error: str = ""
    ms: int = 0

    @property
    def is_broken(self) -> bool:
        """True if rows break the invariant or its query failed."""
        return bool(self.rows or self.error)


_REGISTERED: dict[str, Invariant] = {}


def register(*more: Invariant) -> None:
    for each in more:
        if _REGISTERED.setdefault(each.code, each) is not each:
            raise ValueError(f"Two integrity checks have the code {each.code}.")


def registered() -> list[Invariant]:
    """Return the invariants in the order of their numbers."""
    return sorted(_REGISTERED.values(), key=lambda each: int(each.code.removeprefix("I")))


def check(*, now: datetime) -> list[InvariantFinding]:
    """Check every invariant. One that fails does not keep the others from being checked."""
    return [_ask(each, now) for each in registered()]


def _ask(invariant: Invariant, now: datetime) -> InvariantFinding:
    began = perf_counter()
    rows: list[str] = []
    error = ""
    try:
        rows = list(islice(invariant.violations(now), ROWS_KEPT + 1))
    except DatabaseError as failure:
        log.exception("invariant.not_asked", invariant=invariant.code)
        error = type(failure).__name__
    took = round((perf_counter() - began) * 1000)
    return InvariantFinding(invariant.code, rows[:ROWS_KEPT], len(rows) > ROWS_KEPT, error, took)
