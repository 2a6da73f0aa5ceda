"""The command line of `make simulate`, `make crash-matrix` and `make simulate-bugs`."""

from __future__ import annotations

import argparse
import multiprocessing
import sys

from tests.simulation.many import Total, play, say, set_up


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
    return _seeds(given.first, given.seeds, given.processes)


def _seeds(first: int, count: int, processes: int) -> int:
    each = -(-count // processes)
    parts = [(start, min(each, first + count - start)) for start in range(first, first + count, each)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        total = sum(pool.starmap(play, parts), Total())
    say(f"seeds {first} to {first + count - 1}: {total.operations} operations")
    say("steps of the table:", *(f"  {name}: {n}" for name, n in sorted(total.edges.items())))
    say("what went wrong or was done:", *(f"  {name}: {n}" for name, n in sorted(total.seen.items())))
    say(f"failed: {total.failing or 'none'}")
    return 1 if total.failing else 0


def _matrix() -> int:
    set_up()
    from tests.simulation.asking import furnish  # noqa: PLC0415  they read models: not before the settings
    from tests.simulation.matrix import table  # noqa: PLC0415  as above
    from tests.simulation.world import at_home  # noqa: PLC0415  as above

    with at_home(furnish) as home:
        return table(home, say)


def _bugs() -> int:
    set_up()
    from tests.simulation.asking import furnish  # noqa: PLC0415  they read models: not before the settings
    from tests.simulation.bugs import table  # noqa: PLC0415  as above
    from tests.simulation.world import at_home  # noqa: PLC0415  as above

    with at_home(furnish) as home:
        return table(home, say)


if __name__ == "__main__":
    sys.exit(main())
