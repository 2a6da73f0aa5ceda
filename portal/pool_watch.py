"""Detection of a hung process in a worker's pool. Celery ends one that exceeds a task's time limit; one that never
starts its task has none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from celery.worker import state

# Seconds in which an idle process starts a task. A new process needs a few to begin.
STARTS_WITHIN = 60.0


@dataclass
class PoolWatch:
    """The pool of the worker in this process."""

    clock: Callable[[], float] = time.monotonic
    _waiting: dict[str, float] = field(default_factory=dict)

    def is_stuck(self, processes: int) -> bool:
        """Return whether a task has waited for `STARTS_WITHIN` seconds although not all processes are busy. Call it
        every few seconds."""
        now, running = self.clock(), set(state.active_requests)
        idle = set(state.reserved_requests) - running if len(running) < processes else set()
        self._waiting = {request.id: self._waiting.get(request.id, now) for request in idle}
        return any(now - since >= STARTS_WITHIN for since in self._waiting.values())
