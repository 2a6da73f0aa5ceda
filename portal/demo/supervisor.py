"""Supervisor of a group of processes: collects their output, restarts them after a crash, and ends them together.

Every member leads its own process group, so that its children end with it. On Linux the kernel signals a member when
the supervisor has ended for any reason (PR_SET_PDEATHSIG), so that no member outlives it. Uses neither Django nor
threads: one loop reads the pipes and monitors the processes.
"""

from __future__ import annotations

import contextlib
import logging.handlers
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

TICK = 0.1
GRACE = 20.0
LONGEST_WAIT = 30.0
STEADY = 60.0

# Runs in the member before its own program; the setting survives the exec.
_GUARD = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (AttributeError, OSError):
    pass  # not Linux: the supervisor still ends its members itself
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Stopped(Exception):
    """A stop was requested while waiting."""


@dataclass(frozen=True, kw_only=True)
class Member:
    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    stop_last: bool = False  # others need it while they stop


class _Running:
    """A member and its current process."""

    def __init__(self, member: Member, folder: Path) -> None:
        self.member = member
        self.file = logging.handlers.RotatingFileHandler(
            folder / f"{member.name}.log", maxBytes=5_000_000, backupCount=1, encoding="utf-8"
        )
        self.failures = 0
        self.again_at: float | None = None
        self.spawn()

    def spawn(self) -> None:
        self.began, self.again_at, self.rest = time.monotonic(), None, b""
        self.pipe, other_end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _GUARD, str(os.getpid()), *self.member.argv],
            env=dict(self.member.env),
            stdin=subprocess.DEVNULL,
            stdout=other_end,
            stderr=subprocess.STDOUT,
            pass_fds=self.member.pass_fds,
            start_new_session=True,
        )
        os.close(other_end)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def read(self) -> tuple[list[str], bool]:
        """Return the complete lines available now, and whether more may come. The pipe must be readable."""
        data = os.read(self.pipe, 65_536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        if not data and self.rest:
            lines, self.rest = [self.rest], b""
        return [line.decode("utf-8", "replace") for line in lines], bool(data)


class Supervisor:
    """Starts members, restarts them, and ends them all."""

    def __init__(self, *, log_folder: Path, say: Callable[[str], None] | None = None) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._folder = log_folder
        self._say = say or _print
        self._running: dict[str, _Running] = {}
        self._pipes = selectors.DefaultSelector()
        self._asked = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    # --- Public methods ---------------------------------------------------------------------------

    def start(self, member: Member) -> None:
        running = self._running[member.name] = _Running(member, self._folder)
        self._pipes.register(running.pipe, selectors.EVENT_READ, running)

    def run_to_end(self, member: Member) -> int:
        """Run a member once and return its exit code. Raises `Stopped`."""
        self.start(member)
        running = self._running[member.name]
        try:
            while not running.ended():
                self._pump()
                self._raise_if_asked()
        finally:
            self._end([running])
            del self._running[member.name]
        return int(running.process.returncode)

    def wait_until(self, check: Callable[[], bool], *, seconds: float) -> bool:
        """Monitor the members until `check` is true; return False after `seconds`. Raises `Stopped`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look_after()
            self._raise_if_asked()
            if check():
                return True
        return False

    def run(self) -> None:
        """Monitor the members until a stop is requested."""
        while not self._asked:
            self._look_after()

    def stop(self) -> None:
        """End every member: SIGTERM, wait, and SIGKILL after the grace period (or a second Ctrl-C)."""
        everyone = list(self._running.values())
        self._end([running for running in everyone if not running.member.stop_last])
        self._end([running for running in everyone if running.member.stop_last])
        self._running.clear()

    # --- The loop -----------------------------------------------------------------------------------

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def _raise_if_asked(self) -> None:
        if self._asked:
            raise Stopped

    def _look_after(self) -> None:
        self._pump()
        now = time.monotonic()
        for running in self._running.values():
            if running.again_at is None and running.ended():
                self._plan_restart(running, now)
            elif running.again_at is not None and now >= running.again_at:
                running.spawn()
                self._pipes.register(running.pipe, selectors.EVENT_READ, running)

    def _plan_restart(self, running: _Running, now: float) -> None:
        self._bury(running)
        running.failures = 1 if now - running.began > STEADY else running.failures + 1
        wait = min(2.0 ** (running.failures - 1), LONGEST_WAIT)
        running.again_at = now + wait
        how = _how(running.process.returncode)
        self._say(f"{running.member.name} stopped ({how}). Restarting it in {wait:.0f} s.")

    def _pump(self) -> None:
        """Forward the members' output; return after one tick if there is none."""
        if not self._pipes.get_map():
            time.sleep(TICK)
        for key, _ in self._pipes.select(TICK):
            if not self._pass_on(key.data):
                self._pipes.unregister(key.fd)

    def _pass_on(self, running: _Running) -> bool:
        lines, more = running.read()
        for line in lines:
            running.file.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))
            self._say(f"{running.member.name:<8}| {line}")
        return more

    # --- Shutdown -----------------------------------------------------------------------------------

    def _end(self, some: list[_Running]) -> None:
        for running in some:
            running.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and self._asked < 2 and not all(r.ended() for r in some):
            self._pump()
        for running in some:
            self._bury(running)
            running.file.close()

    def _bury(self, running: _Running) -> None:
        """Kill what is left of the member's group, and read its remaining output."""
        running.signal(signal.SIGKILL)
        running.process.wait()
        if running.pipe not in self._pipes.get_map():
            return
        self._pipes.unregister(running.pipe)
        while select.select([running.pipe], [], [], 0)[0] and self._pass_on(running):
            pass
        os.close(running.pipe)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Standard output is closed; the files under var/log still have everything.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
