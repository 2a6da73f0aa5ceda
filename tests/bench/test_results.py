"""What a row of the bench must reach, and how runs are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.bench.results import Row, compared, load, store, table


@pytest.mark.parametrize(
    ("ratio", "must", "better", "passed"),
    [
        (0.4, 0.4, "higher", True),
        (0.39, 0.4, "higher", False),
        (8.0, 8.0, "lower", True),
        (8.1, 8.0, "lower", False),
        (None, 5.0, "lower", True),
        (None, 4.9, "lower", False),
        (0.0, None, "higher", True),
    ],
)
def test_the_ratio_is_bounded_or_else_the_value(
    ratio: float | None, must: float | None, better: Literal["higher", "lower"], passed: bool
) -> None:
    row = Row("pages", "customers", 5.0, "ms", 2.0, ratio, must, better)
    assert row.passed is passed


ROWS = [
    Row("pages", "customers", 20.0, "ms", 10.0, 0.5, 0.4, "higher", (19.0, 23.0), 10),
    Row("exports", "CSV, first row", 400.0, "ms", None, None, 300, "lower"),
]


def test_the_table_marks_what_misses() -> None:
    lines = table(ROWS).splitlines()
    assert [line for line in lines if "MISSES" in line] == [lines[-1]]
    assert "10 st." in lines[2]
    assert "19.0 to 23.0" in lines[2]


def test_a_stored_run_is_compared_with_another(tmp_path: Path) -> None:
    store(ROWS, tmp_path / "runs" / "a.json")
    before = load(tmp_path / "runs" / "a.json")
    assert before == ROWS
    after = [replace(ROWS[0], value=10.0, ratio=1.0), Row("new", "one", 1.0, "s", None, None, None, "lower")]
    lines = compared(before, after).splitlines()
    assert "+100%" in lines[1]
    assert "%" not in lines[2]
    assert "new: one" in lines[3]
