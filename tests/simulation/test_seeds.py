"""A slice of the seeded simulation; `make simulate SEEDS=20000` runs as many as you like.

`SIMULATED_SEEDS=500 SIMULATED_FROM=100` runs others here. A seed that failed once stays in `KEPT`.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.seeds import run
from tests.simulation.world import Home

pytestmark = pytest.mark.xdist_group("simulation")

FIRST, COUNT = int(os.environ.get("SIMULATED_FROM", "0")), int(os.environ.get("SIMULATED_SEEDS", "2"))
# 15: a clock set back made a cancelled operation look as if it had moved after its end (I8).
# 752: a 504, and the account came to be 400 seconds later, after the create was repeated under its key.
# 1730, 1814: a test message was accepted, answered 500, and sent again.
# 30061: a walk begun before a create was sent met its account, which was then taken for an older one.
KEPT = (15, 752, 1730, 1814, 30061)


@pytest.mark.parametrize("seed", sorted({*range(FIRST, FIRST + COUNT), *KEPT}))
def test_a_world_ends_clean(home: Home, seed: int) -> None:
    outcome = run(home, seed, thorough=seed % 25 == 0)
    assert outcome.problems == [], f"seed {seed}"


def test_the_same_seed_is_the_same_world(home: Home) -> None:
    once, again = run(home, 7), run(home, 7)
    assert once.seen == again.seen
    assert once.edges == again.edges
