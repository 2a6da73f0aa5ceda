"""One wall clock for all processes of an installation, which can be moved forward while they run.

Leases of 90 s, two minutes to settle and a quarter of an hour of proof are not made shorter for chaos: the clock jumps,
for every process at once, as if the machine had slept. The sandbox's own clock is moved by as much. What measures time
by itself (`monotonic`: deadlines, pauses, pace) goes on in real seconds.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine
from django.utils import timezone

from portal import clock as portal_clock

VARIABLE = "CHAOS_CLOCK"
LOOKS_EVERY = 0.05


class Clock:
    """The side that moves it. `ahead` is by how many seconds the installation is ahead of this process."""

    def __init__(self, path: Path) -> None:
        self.path, self.ahead = path, 0.0
        self._write()

    def move(self, seconds: float) -> None:
        self.ahead += seconds
        self._write()
        time.sleep(2 * LOOKS_EVERY)  # every process has looked by then

    def _write(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(str(self.ahead))
        fresh.replace(self.path)


def follow() -> None:
    """The side of a process of the installation: from now on, and in every child it forks. To be called before the
    portal's modules are imported."""
    portal_clock.database_now = timezone.now  # the database's machine jumps as well
    path = Path(os.environ[VARIABLE])
    ahead = float(path.read_text())
    traveller = time_machine.travel(datetime.now(UTC) + timedelta(seconds=ahead)).start()

    def look() -> None:
        nonlocal ahead
        while True:
            time.sleep(LOOKS_EVERY)
            said = float(path.read_text())
            if said != ahead:
                traveller.shift(said - ahead)
                ahead = said

    def begin() -> None:
        threading.Thread(target=look, daemon=True, name="clock").start()

    os.register_at_fork(after_in_child=begin)
    begin()
