"""Liveness reports of this machine's processes, for what restarts a hung one: systemd's watchdog, or the health check
of a container, which ends the process itself because Docker does not.

A process reports while its main loop turns. A report is a file in DATA_DIR with the time by the machine's monotonic
clock, so neither a changed clock nor an unreachable database makes a process look hung.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

# Seconds after which a silent process counts as hung. Longer than a task that calls a provider may take, so that
# ending one cuts no call off.
HUNG_AFTER = 180.0


def short_name(worker: str) -> str:
    """Return the name that the worker `name@host` is known by."""
    return worker.partition("@")[0]


def report(name: str) -> None:
    """Record that this process, known as `name`, is alive."""
    _write(name, os.getpid())
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            systemd.sendall(b"WATCHDOG=1")


def renew(name: str) -> None:
    """Record that the process known as `name` answered."""
    if (pid := _sign(name)[0]) and _started(pid):
        _write(name, pid)


def end_if_hung(name: str, *, after: float = HUNG_AFTER) -> bool:
    """Return whether the process reported lately. Kill it if it has been silent for `after` seconds."""
    pid, started, at = _sign(name)
    silent = time.monotonic() - at
    if silent < after / 3:
        return True
    if pid and silent >= after and started == _started(pid):  # and no other process that got its ID
        os.kill(pid, signal.SIGKILL)
    return False


def _path(name: str) -> Path:
    folder = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parent.parent / "var")
    return folder / f"alive-{name}"


def _write(name: str, pid: int) -> None:
    path = _path(name)
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(f"{pid} {_started(pid)} {time.monotonic()}")
    new.replace(path)


def _sign(name: str) -> tuple[int, str, float]:
    """Return the process ID, when the process started, and when it last reported."""
    try:
        pid, started, at = _path(name).read_text().split()
        return int(pid), started, float(at)
    except (OSError, ValueError):
        return 0, "", 0.0


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the machine did; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
