"""The group of processes: started again when one dies, ended as one, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
# A member that starts a child of its own, writes both pids, and ignores what `deaf` says.
MEMBER = """
import os, signal, subprocess, sys, time
def finish(*_):
    time.sleep(0.5)
    print("finished what it held", flush=True)
    os._exit(0)
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "busy" in sys.argv:
    signal.signal(signal.SIGTERM, finish)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pids", os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
GROUP = """
import sys
from pathlib import Path
from portal.demo import supervisor
supervisor.GRACE = 1.0
group = supervisor.Supervisor(log_folder=Path(sys.argv[1]))
for name in sys.argv[2:]:
    argv = (sys.executable, "-c", {member!r}, name)
    group.start(supervisor.Member(name=name, argv=argv, env={{}}))
try:
    group.run()
finally:
    group.stop()
print("group ended", flush=True)
"""


def _within(seconds: float, check: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Group:
    def __init__(self, folder: Path, *names: str) -> None:
        self.logs = folder / "log"
        self.names = names
        self.out = (folder / "out").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", GROUP.format(member=MEMBER), str(self.logs), *names],
            cwd=ROOT, stdout=self.out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        for name in names:
            _within(15, lambda name=name: self.pids(name), f"{name} did not start")

    def pids(self, name: str) -> list[int]:
        """Every pid the member and its child ever had, oldest first."""
        log = self.logs / f"{name}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(pid) for line in lines if line.startswith("pids ") for pid in line.split()[1:]]

    def everyone(self) -> list[int]:
        return [pid for name in self.names for pid in self.pids(name)]

    def said(self) -> str:
        return Path(self.out.name).read_text()

    def end(self) -> None:
        for pid in [*self.everyone(), self.process.pid]:
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.out.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Group]]:
    groups: list[Group] = []

    def make(*names: str) -> Group:
        groups.append(Group(tmp_path, *names))
        return groups[-1]

    yield make
    for group in groups:
        group.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_every_process(start: Callable[..., Group], number: signal.Signals) -> None:
    group = start("one", "two")
    group.process.send_signal(number)
    assert group.process.wait(60) == 0
    assert len(group.everyone()) == 4
    assert not any(map(_is_alive, group.everyone()))
    assert "group ended" in group.said()


def test_who_does_not_listen_is_ended_anyway(start: Callable[..., Group]) -> None:
    group = start("deaf")
    group.process.terminate()
    assert group.process.wait(60) == 0
    assert not any(map(_is_alive, group.everyone()))


def test_who_is_busy_may_finish(start: Callable[..., Group]) -> None:
    group = start("busy")
    group.process.terminate()
    assert group.process.wait(60) == 0
    assert "busy    | finished what it held" in group.said()


def test_a_dead_member_comes_back_and_takes_its_children_with_it(start: Callable[..., Group]) -> None:
    group = start("one", "two")
    leader, child = group.pids("one")
    os.kill(leader, signal.SIGKILL)
    _within(10, lambda: len(group.pids("one")) == 4, "it was not started again")
    assert not _is_alive(child), "its child would have run beside the new one"
    assert len(group.pids("two")) == 2, "the other member has nothing to do with it"
    assert "one stopped (signal SIGKILL). Restarting it in 1 s." in group.said()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_members_end_when_the_supervisor_is_killed(start: Callable[..., Group]) -> None:
    group = start("one", "two")
    leaders = [group.pids(name)[0] for name in group.names]
    group.process.kill()
    group.process.wait()
    _within(5, lambda: not any(map(_is_alive, leaders)), "a member outlived its supervisor")


def test_every_line_is_named_and_kept(start: Callable[..., Group]) -> None:
    group = start("one")
    leader, child = group.pids("one")
    _within(5, lambda: f"one     | pids {leader} {child}" in group.said(), "the line was not passed on")
