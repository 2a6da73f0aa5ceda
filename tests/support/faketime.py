"""Another date for a whole test run, by libfaketime."""

from __future__ import annotations

import os
import time
from pathlib import Path

# What libfaketime 0.9.10 must leave alone: the monotonic clock, since it does not know every way to wait that Python
# uses, and its correction of timed waits, by which a thread that waits for the interpreter's lock tries without end.
SETTINGS = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}


def same_everywhere() -> None:
    """Under faketime: make it usable for the processes started from here, pytest's workers among them.

    An absolute time (`@...`) would begin again in each process, so it becomes an offset from the real clock.
    """
    if "libfaketime" not in os.environ.get("LD_PRELOAD", ""):
        return
    if os.environ.get("FAKETIME", "").startswith("@"):
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        real = int(booted.split()[1]) + float(Path("/proc/uptime").read_text().split()[0])
        os.environ["FAKETIME"] = f"{time.time() - real:+.0f}s"
    os.environ.update(SETTINGS)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "faked_time")
