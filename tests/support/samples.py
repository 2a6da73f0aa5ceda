"""A seeded sample in the suite, everything in `make proof` (PROOF=1): for long lists of cases inside one test, and for
the parameter sets of a test marked `sample(n)` (tests/conftest.py). `SEED=n` chooses others."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
SEED = os.environ.get("SEED", "1")


def is_proof() -> bool:
    return os.environ.get("PROOF") == "1"


def sample(cases: Sequence[T], count: int, *, name: str) -> list[T]:
    """All cases in a proof, otherwise `count` of them, in their order; `name` makes the choice one of its own."""
    if is_proof() or len(cases) <= count:
        return list(cases)
    chosen = sorted(random.Random(f"{SEED} {name}").sample(range(len(cases)), count))
    return [cases[n] for n in chosen]
