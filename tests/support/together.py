"""Work in several processes at the same moment, on the database of the test (`transaction=True`).

A test marked `proof` runs on PostgreSQL alone, since SQLite lets one writer in at a time, and repeats its race
`rounds()` times: once in the suite, five times in `make test-long`, twenty in `make proof`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from django.db import connections

DEADLINE_SECONDS = 60


def rounds() -> range:
    """One number per round of a race."""
    return range(int(os.environ.get("PROOF_ROUNDS", "1")))


def together(work: Callable[[int], Any], processes: int) -> list[Any]:
    """Run `work(n)` in as many forked processes; they start when all are there. What each returns is pickled back; an
    exception comes back as its `repr`."""
    fork = multiprocessing.get_context("fork")
    barrier, answers = fork.Barrier(processes), fork.Queue()

    def run(n: int) -> None:
        try:
            # Django keeps connections apart inside and outside an event loop. Where the parent drives a browser, which
            # has one, `close_all` leaves what was open before; in the children, without a loop, it would be shared.
            connections["default"].connection = None
            connections["default"].ensure_connection()
            barrier.wait(DEADLINE_SECONDS)
            answers.put(work(n))
        except BaseException as error:  # noqa: BLE001  whatever it is, the parent is told
            answers.put(repr(error))
        finally:
            connections.close_all()

    connections.close_all()  # a connection must not be shared with a child
    started = [fork.Process(target=run, args=(n,)) for n in range(processes)]
    for process in started:
        process.start()
    try:
        return [answers.get(timeout=DEADLINE_SECONDS) for _ in started]
    finally:
        for process in started:
            process.join(10)
            if process.is_alive():
                process.kill()
