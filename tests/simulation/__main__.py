"""The command line of `make simulate`, `make crash-matrix` and `make simulate-bugs`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator
from time import perf_counter

TOLD_EVERY = 200
THOROUGH_EVERY = 25


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("what", choices=("seeds", "matrix", "bugs"))
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if given.what == "matrix":
        return _matrix()
    if given.what == "bugs":
        return _bugs()
    if given.processes == 1:
        return _seeds(given.first, given.seeds)
    each = -(-given.seeds // given.processes)
    parts = [(given.first + n * each, min(each, given.seeds - n * each)) for n in range(given.processes)]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        return max(pool.starmap(_seeds, parts))


def _set_up() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["LOG_LEVEL"] = "CRITICAL"
    import django  # noqa: PLC0415  settings come from the environment

    django.setup()


def _seeds(first: int, count: int) -> int:
    _set_up()
    from tests.simulation.asking import furnish  # noqa: PLC0415
    from tests.simulation.seeds import Outcome, run  # noqa: PLC0415
    from tests.simulation.world import at_home  # noqa: PLC0415

    def outcomes() -> Iterator[Outcome]:
        with at_home(furnish) as home:
            for seed in range(first, first + count):
                yield run(home, seed, thorough=seed % THOROUGH_EVERY == 0)

    edges, seen, failing, asked = Counter[str](), Counter[str](), list[int](), 0
    began = 0.0
    for done, outcome in enumerate(outcomes()):
        began = began or perf_counter()
        edges, seen, asked = edges + outcome.edges, seen + outcome.seen, asked + outcome.operations
        if outcome.problems:
            failing.append(outcome.seed)
            _say(f"seed {outcome.seed} FAILED", *outcome.problems)
        if done and done % TOLD_EVERY == 0:
            _say(f"{done + 1} seeds, {done / (perf_counter() - began):.1f} a second, {len(failing)} failed")
    rate = count / max(perf_counter() - began, 0.001)
    _say(f"seeds {first} to {first + count - 1}: {asked} operations, {rate:.1f} seeds a second")
    _say("steps of the table:", *(f"  {name}: {n}" for name, n in sorted(edges.items())))
    _say("what went wrong or was done:", *(f"  {name}: {n}" for name, n in sorted(seen.items())))
    _say(f"failed: {failing or 'none'}")
    return 1 if failing else 0


def _matrix() -> int:
    _set_up()
    from tests.simulation.asking import furnish  # noqa: PLC0415
    from tests.simulation.matrix import table  # noqa: PLC0415
    from tests.simulation.world import at_home  # noqa: PLC0415

    with at_home(furnish) as home:
        return table(home, _say)


def _bugs() -> int:
    _set_up()
    from tests.simulation.asking import furnish  # noqa: PLC0415
    from tests.simulation.bugs import table  # noqa: PLC0415
    from tests.simulation.world import at_home  # noqa: PLC0415

    with at_home(furnish) as home:
        return table(home, _say)


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
