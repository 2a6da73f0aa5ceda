"""Several machines: two with workers and pages each, in network namespaces of their own, and a third with PostgreSQL,
Redis and the providers. One of the two is cut off for a minute, without a word to either side, and comes back.

PostgreSQL, Redis and the simulator listen on 127.0.0.1 as ever, because outside production a provider may only be
there. The two machines have no such address of their own: they route it over the bridge, like any other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from portal.queue_settings import NAMES
from tests.chaos.clock import VARIABLE, Clock
from tests.chaos.killer import Killer, say
from tests.chaos.proxy import FaultProxy
from tests.chaos.stage import Stage
from tests.journeys.processes import CELERY, ROOT, Installation, until
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.sandbox import SandboxProcess

BRIDGE, NETWORK = "10.209.0.1", "10.209.0.0/24"
# The machine of each worker of the stage. The scheduler is on the first.
PLACES = {"one": "pk-app1", "two": "pk-app2", "three": "pk-app2"}
MACHINES = {"pk-app1": "10.209.0.11", "pk-app2": "10.209.0.12"}
CUT_OFF = float(os.environ.get("CUT_SECONDS", "60"))


def unavailable() -> str:
    """Say why there can be no network namespaces here; "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "ip is not installed (Debian: apt-get install iproute2)"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this machine allows no network namespaces"


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


def _inside(machine: str, *command: str) -> None:
    subprocess.run(["ip", "netns", "exec", machine, *command], check=True, capture_output=True)


@contextmanager
def network() -> Iterator[None]:
    """A bridge with a namespace at each end of a cable."""
    _remove()
    try:
        _ip("link", "add", "pk-bridge", "type", "bridge")
        _ip("address", "add", f"{BRIDGE}/24", "dev", "pk-bridge")
        _ip("link", "set", "pk-bridge", "up")
        _routes_loopback(["sysctl", "-qw"], "pk-bridge")
        for machine, address in MACHINES.items():
            _ip("netns", "add", machine)
            _ip("link", "add", f"{machine}-v", "type", "veth", "peer", "name", "eth0", "netns", machine)
            _ip("link", "set", f"{machine}-v", "master", "pk-bridge", "up")
            for command in (
                "link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up",
                "address del 127.0.0.1/8 dev lo", f"route add 127.0.0.1/32 via {BRIDGE} src {address}",
            ):  # fmt: skip
                _inside(machine, "ip", *command.split())
            _routes_loopback(["ip", "netns", "exec", machine, "sysctl", "-qw"], "eth0")
        yield
    finally:
        _remove()


def _routes_loopback(sysctl: list[str], device: str) -> None:
    for option in ("route_localnet=1", "rp_filter=0"):
        subprocess.run([*sysctl, f"net.ipv4.conf.{device}.{option}"], check=True, capture_output=True)


def _remove() -> None:
    for machine in MACHINES:
        _ip("netns", "del", machine, check=False)
        _ip("link", "del", f"{machine}-v", check=False)
    _ip("link", "del", "pk-bridge", check=False)


class Machines(Stage):
    """The stage with its workers, pages and scheduler on two machines."""

    def connect(self, machine: str, *, on: bool) -> None:
        """Put the cable into the bridge, or take it out: neither side is told."""
        _ip("link", "set", f"{machine}-v", *(("master", "pk-bridge") if on else ("nomaster",)))

    def start_worker(self, name: str) -> None:
        self._started[name] = time.time() + self.clock.ahead
        self.workers[name] = self._spawn(
            PLACES[name], f"worker-{name}", *CELERY, "worker", "-c", "2", "-Q", ",".join(NAMES), "-n", f"{name}@chaos",
            "--without-gossip", "--without-mingle", PORTAL_WORKER="1",
        )  # fmt: skip

    def start_beat(self) -> None:
        self.beat = self._spawn("pk-app1", "beat", *CELERY, "beat", PORTAL_WORKER="1")

    def start_pages(self) -> None:
        for machine, address in MACHINES.items():
            gunicorn = ("-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi")
            self._spawn(machine, f"web-{machine}", *gunicorn, WEB_BIND=f"{address}:8000", ALLOWED_HOSTS=address)
        for machine in MACHINES:
            until(lambda m=machine: self.page_is_ready(m), what=f"the pages of {machine}")  # type: ignore[misc]

    def page_is_ready(self, machine: str) -> bool:
        """Ask as a load balancer does."""
        code = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=4)"
        asked = subprocess.run(
            [sys.executable, "-c", code, f"http://{MACHINES[machine]}:8000/readyz"],
            capture_output=True, check=False, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return asked.returncode == 0

    def _spawn(self, machine: str, log: str, *argv: str, **more: str) -> subprocess.Popen[bytes]:
        folder = self.portal.folder / machine
        folder.mkdir(exist_ok=True)
        with (self.portal.folder / f"{log}.out").open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", machine, sys.executable, *argv], cwd=ROOT,
                env={**self.portal.env, "DATA_DIR": str(folder), **more}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._groups.append(process)
        return process


@contextmanager
def machines(folder: Path, seed: str) -> Iterator[Machines]:
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(folder / "clock")
    with network():
        postgres, redis = Postgres(durable=True, network=NETWORK), Redis()
        postgres.start()
        redis.start()
        chances = ("--seed", str(crc32(seed.encode())))
        with (
            SandboxProcess(*chances, data=folder / "sandbox.sqlite3") as sandbox,
            FaultProxy(redis.port) as line,
        ):
            portal = Installation(
                folder, sandbox, DATABASE_URL=postgres.url, REDIS_URL=redis.url,
                DJANGO_SETTINGS_MODULE="tests.chaos.settings",
                SESSION_IDLE_SECONDS="100000000", SESSION_ABSOLUTE_SECONDS="100000000", **{VARIABLE: str(clock.path)},
            )  # fmt: skip
            one = Machines(portal, clock, postgres, redis, line)
            try:
                one.prepare(canaries=12, web=False)
                one.start_pages()
                yield one
            finally:
                one.end()
                portal.end_all()
                redis.remove()
                postgres.remove()


def cut_off(killer: Killer) -> str:
    """Cut a machine off under load. The other one goes on; the first one works again soon after."""
    stage = killer.stage
    assert isinstance(stage, Machines)
    machine = killer.chance.choice(sorted(MACHINES))
    other = next(each for each in MACHINES if each != machine)
    stage.connect(machine, on=False)
    cut_at = time.monotonic()
    try:
        killer.watch_recovery(f"meanwhile-{killer.seed}-{cut_at}", f"the loss of {machine}")
        assert stage.page_is_ready(other), f"{other} answers pages"
        time.sleep(max(0.0, CUT_OFF - (time.monotonic() - cut_at)))
    finally:
        stage.connect(machine, on=True)
    back_at = time.monotonic()
    heartbeat_after = time.time() + stage.clock.ahead
    names = [name for name, place in PLACES.items() if place == machine]
    for name in names:
        until(lambda n=name: stage.ask("reported", n, heartbeat_after), what=f"a heartbeat of {name}", seconds=300)  # type: ignore[misc]
    until(lambda: stage.page_is_ready(machine), what=f"the pages of {machine}", seconds=120)
    say(f"{machine} cut off for {back_at - cut_at:.0f} s; back after {time.monotonic() - back_at:.1f} s")
    return f"{machine} cut off"
