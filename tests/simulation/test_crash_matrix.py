"""A slice of the crash-point matrix, another one for each seed; `make crash-matrix` plays all of it.

`CRASH_CELLS=60 CRASH_SEED=3` plays sixty others.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.simulation.matrix import Cell, cells, play
from tests.simulation.world import Home

pytestmark = pytest.mark.xdist_group("simulation")
CHANCE = Random(int(os.environ.get("CRASH_SEED", "1")))
SLICE = CHANCE.sample(cells(), int(os.environ.get("CRASH_CELLS", "6")))


@pytest.mark.parametrize("cell", SLICE, ids=str)
def test_a_cell_ends_clean(home: Home, cell: Cell) -> None:
    assert play(home, cell) in ([], None)  # None: this kind never comes to that point


@pytest.mark.parametrize("way", ["exit", "exception", "database", "stopped"])
def test_a_create_ends_clean_wherever_its_answer_is_lost(home: Home, way: str) -> None:
    assert play(home, Cell("sendgrid", "create", "answer_begun", way)) == []
