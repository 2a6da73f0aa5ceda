"""Rows of a run of the bench: a value beside the floor of the same run, and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass
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
    def passed(self) -> bool:
        """Whether the bounded value is good enough; a row without a bound always passes."""
        if self.must is None:
            return True
        bounded = self.value if self.ratio is None else self.ratio
        return bounded >= self.must if self.better == "higher" else bounded <= self.must
