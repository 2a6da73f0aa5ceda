"""Whoever trusts the simulation must know that it sees mistakes: fifteen are planted, and fifteen are caught."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS, Bug, caught
from tests.simulation.world import Home

pytestmark = pytest.mark.xdist_group("simulation")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
@pytest.mark.sample(3)
def test_a_planted_bug_is_caught_and_nothing_without_it(home: Home, bug: Bug) -> None:
    assert caught(home, bug, planted=False) == []
    assert caught(home, bug) != []


def test_there_are_fifteen() -> None:
    assert len({bug.name for bug in BUGS}) == 15
