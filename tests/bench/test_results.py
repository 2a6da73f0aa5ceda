"""What a row of the bench must reach."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.bench.results import Row


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
