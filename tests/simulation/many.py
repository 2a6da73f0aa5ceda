"""Many seeds in one process, counted together. Imported by name, so that a spawned process finds it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter

TOLD_EVERY = 200
THOROUGH_EVERY = 25


@dataclass
class Total:
    operations: int = 0
    edges: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    failing: list[int] = field(default_factory=list)

    def __add__(self, other: Total) -> Total:
        return Total(
            self.operations + other.operations, self.edges + other.edges, self.seen + other.seen,
            self.failing + other.failing,
        )  # fmt: skip


def play(first: int, count: int) -> Total:
    """Play `count` seeds from `first`; says how far it is, and what failed when it does."""
    set_up()
    from tests.simulation.asking import furnish  # noqa: PLC0415  they read models: not before the settings
    from tests.simulation.seeds import run  # noqa: PLC0415  as above
    from tests.simulation.world import at_home  # noqa: PLC0415  as above

    total = Total()
    with at_home(furnish) as home:
        began = perf_counter()
        for done, seed in enumerate(range(first, first + count), start=1):
            outcome = run(home, seed, thorough=seed % THOROUGH_EVERY == 0)
            failing = [seed] if outcome.problems else []
            total += Total(outcome.operations, outcome.edges, outcome.seen, failing)
            if outcome.problems:
                say(f"seed {seed} FAILED", *outcome.problems)
            if done % TOLD_EVERY == 0 or done == count:
                rate = done / (perf_counter() - began)
                say(f"{done} of {count} from {first}: {rate:.1f} a second, {len(total.failing)} failed")
    return total


def set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["LOG_LEVEL"] = "CRITICAL"
    import django  # noqa: PLC0415  settings come from the environment

    django.setup()


def say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
