"""Processor time of a call, in this process and in the database's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import psutil
from django.db import connection


@dataclass
class Timing:
    """Milliseconds of several calls: on the clock, and on the processor of this process and of the database's."""

    clock: list[float] = field(default_factory=list)
    python: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    queries: int = 0

    @property
    def work(self) -> float:
        return median(a + b for a, b in zip(self.python, self.database, strict=True))

    @property
    def spread(self) -> tuple[float, float]:
        both = [a + b for a, b in zip(self.python, self.database, strict=True)]
        return min(both), max(both)


def database_seconds() -> float:
    """Return the processor time of the connection's server process and of parallel workers that ended."""

    backend = psutil.Process(connection.connection.info.backend_pid)
    ran = int(Path(f"/proc/{backend.pid}/schedstat").read_text().split()[0]) / 1e9
    server = backend.parent()
    assert server is not None
    ended = server.cpu_times()
    return ran + ended.children_user + ended.children_system


def measured(call: Callable[[], Any], timing: Timing) -> None:

    queries = [0]

    def count(execute: Any, *arguments: Any) -> Any:
        queries[0] += 1
        return execute(*arguments)

    clock, python, database = perf_counter(), process_time(), database_seconds()
    with connection.execute_wrapper(count):
        call()
    timing.clock.append((perf_counter() - clock) * 1000)
    timing.python.append((process_time() - python) * 1000)
    timing.database.append((database_seconds() - database) * 1000)
    timing.queries = queries[0]


def get(client: Any, address: str, **how: Any) -> None:
    """Request a page and read its answer to the end."""
    answer = client.get(address, **how)
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}")
    for _ in getattr(answer, "streaming_content", ()):
        pass
