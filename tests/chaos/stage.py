"""The portal as in production, on one machine: web, two workers, beat, Redis, PostgreSQL, and the providers' simulator,
all of them real processes that may be killed. Everything started here is ended by its own process group.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from portal.queue_settings import NAMES
from tests.chaos.clock import VARIABLE, Clock
from tests.chaos.proxy import FaultProxy
from tests.journeys.processes import CELERY, PASSWORD, ROOT, Installation, until
from tests.journeys.test_production_services import Visitor
from tests.support.ahasend import AHASEND_ACCOUNT, AHASEND_KEY
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.sandbox import EU_KEY, KEY, SandboxProcess

WORKERS = ("one", "two", "three")
# How often what goes wrong at the providers, by operation: lost, doubled by nobody, refused for a while, cut off.
FAULTS = {
    "create": ("after-status-504", "after-status-500", "reset-after", "reset-before", "status-503", "after-html-502"),
    "aha-create": ("after-status-504", "after-status-500", "reset-after", "reset-before", "crash-after", "truncated"),
    "aha-key-create": ("after-status-504", "reset-after", "crash-before"),
    "put-offerings": ("after-status-500", "reset-after", "status-502"),
    "put-state": ("after-status-500", "reset-before"),
    "aha-update": ("after-status-500", "reset-after"),
    "list": ("status-500", "truncated"),
    "aha-list": ("status-500", "truncated"),
}
CHANCE = 0.03


class Stage:
    def __init__(self, portal: Installation, clock: Clock, postgres: Postgres, redis: Redis, line: FaultProxy) -> None:
        self.portal, self.clock, self.postgres, self.redis, self.line = portal, clock, postgres, redis, line
        self.through_line = False
        self.ended_by_themselves = 0
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.beat: subprocess.Popen[bytes] | None = None
        self._started: dict[str, float] = {}
        self._groups: list[subprocess.Popen[Any]] = []
        self._desk: subprocess.Popen[str] | None = None
        self._visitor: Visitor | None = None

    # -- people

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the desk answers."""
        desk = self._desk or self._open_desk()
        assert desk.stdin is not None
        assert desk.stdout is not None
        desk.stdin.write(json.dumps([name, arguments]) + "\n")
        desk.stdin.flush()
        line = desk.stdout.readline()
        assert line, f"the desk ended: {self.portal.said('desk')[-3000:]}"
        return json.loads(line)

    def visitor(self) -> Visitor:
        """Somebody at a browser, signed in."""
        if self._visitor is None:
            self._visitor = Visitor(self.portal.url)
            self._visitor.post("/sign-in/", login="cleo@example.com", password=PASSWORD)
        return self._visitor

    def _open_desk(self) -> subprocess.Popen[str]:
        with (self.portal.folder / "desk.out").open("ab") as log:
            self._desk = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.desk"], cwd=ROOT, env=self.portal.env, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        self._groups.append(self._desk)
        return self._desk

    # -- processes

    def start_worker(self, name: str) -> None:
        more = {"REDIS_URL": f"redis://127.0.0.1:{self.line.port}/0"} if self.through_line else {}
        self._started[name] = time.time() + self.clock.ahead
        self.workers[name] = self.portal.spawn(
            f"worker-{name}", *CELERY, "worker", "-c", "2", "-Q", ",".join(NAMES), "-n", f"{name}@chaos",
            "--without-gossip", "--without-mingle", PORTAL_WORKER="1", **more,
        )  # fmt: skip
        self._groups.append(self.workers[name])

    def start_beat(self) -> None:
        self.beat = self.portal.start_beat()
        self._groups.append(self.beat)

    def await_workers(self) -> None:
        """Both are there. One that ended by itself is started again, as whoever runs processes does, and counted."""
        for name in WORKERS:
            if self.workers[name].poll() is not None:
                self.ended_by_themselves += 1
                self.start_worker(name)
        for name, since in self._started.items():
            until(lambda n=name, s=since: self.ask("ready", n, s), what=f"worker {name}")  # type: ignore[misc]

    def kill_group(self, process: subprocess.Popen[Any]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_child(self, process: subprocess.Popen[Any], pick: Callable[[list[int]], int]) -> bool:
        """One of the processes that a worker forked, as the kernel does when memory runs out."""
        with suppress(OSError, ValueError):
            path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if children := [int(pid) for pid in path.read_text().split()]:
                os.kill(pick(children), signal.SIGKILL)
                return True
        return False

    # -- time and faults

    def pass_time(self, seconds: float) -> None:
        self.portal.sandbox.admin.move_clock(seconds=seconds)
        self.clock.move(seconds)

    def faults(self, *, on: bool) -> None:
        admin = self.portal.sandbox.admin
        admin.clear_faults()
        for operation, names in FAULTS.items() if on else ():
            for name in names:
                admin.arm(name, operation, probability=CHANCE)

    # -- begin and end

    def prepare(self, *, canaries: int, web: bool) -> None:
        admin, base = self.portal.sandbox.admin, self.portal.sandbox.base_url
        for organisation in ("reseller-global", "reseller-eu"):  # by these it is found out that identity can be proved
            admin.add_account(organisation=organisation, email=f"first@{organisation}.example", region=organisation[9:])
        self.ask("migrate")
        for name in WORKERS:
            self.start_worker(name)
        self.start_beat()
        self.ask("connect", KEY, "sendgrid", "--name", "Salmon", "--base-url", base)
        self.ask("connect", EU_KEY, "sendgrid", "--name", "Canary", "--base-url", f"{base}/eu")
        aster = ("ahasend", "--name", "Aster", "--base-url", base, "--account-id", AHASEND_ACCOUNT)
        self.ask("connect", AHASEND_KEY, *aster)
        if web:
            self.portal.start_web()
        self.await_workers()
        self.ask("prepare", canaries)
        until(lambda: self.ask("counts").get("succeeded") == canaries, what="the canaries")
        admin.switch("latency_ms", 60)

    def end(self) -> None:
        for process in self._groups:
            self.kill_group(process)
        if self._desk and self._desk.stdin and self._desk.stdout:
            self._desk.stdin.close()
            self._desk.stdout.close()


@contextmanager
def stage(folder: Path, seed: str, *, small: bool = False) -> Iterator[Stage]:
    """`seed` decides what goes wrong at the providers; what is killed meanwhile, and when, is the killer's. `small`:
    without pages, and with few canaries."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(folder / "clock")
    postgres, redis = Postgres(durable=True), Redis()
    postgres.start()
    redis.start()
    chances = ("--seed", str(crc32(seed.encode())))
    with SandboxProcess(*chances, data=folder / "sandbox.sqlite3") as sandbox, FaultProxy(redis.port) as line:
        portal = Installation(
            folder, sandbox, DATABASE_URL=postgres.url, REDIS_URL=redis.url,
            DJANGO_SETTINGS_MODULE="tests.chaos.settings",
            SESSION_IDLE_SECONDS="100000000", SESSION_ABSOLUTE_SECONDS="100000000", **{VARIABLE: str(clock.path)},
        )  # fmt: skip
        one = Stage(portal, clock, postgres, redis, line)
        try:
            one.prepare(canaries=4 if small else 12, web=not small)
            yield one
        finally:
            one.end()
            portal.end_all()
            redis.remove()
            postgres.remove()
