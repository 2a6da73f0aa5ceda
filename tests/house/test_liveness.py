"""A hung process is noticed by the health check of its container, or by systemd, and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import state
from kombu.utils.imports import symbol_by_name

from portal import liveness
from portal.celery import app
from portal.pool_watch import STARTS_WITHIN, PoolWatch
from tests.journeys.processes import CELERY, ROOT, Installation, installation, until
from tests.support.postgres import free_port
from tests.support.redis import Redis

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as one:
        yield one
        one.kill()


def _silent(name: str, pid: int, seconds: float, started: str = "") -> None:
    started = started or liveness._started(pid)
    liveness._path(name).write_text(f"{pid} {started} {time.monotonic() - seconds}")


def _ends(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        return process.wait(0.3) == -signal.SIGKILL
    return False


def test_a_process_that_reports_is_healthy() -> None:
    liveness.report("ops")
    assert liveness.end_if_hung("ops")


def test_one_that_never_reported_is_not() -> None:
    assert not liveness.end_if_hung("ops")


@pytest.mark.parametrize(("seconds", "ended"), [(61, False), (179, False), (181, True)])
def test_a_silent_process_is_ended_after_a_while(process: subprocess.Popen[bytes], seconds: float, ended: bool) -> None:
    _silent("ops", process.pid, seconds)
    assert not liveness.end_if_hung("ops")
    assert _ends(process) == ended


def test_another_process_with_its_id_is_left_alone(process: subprocess.Popen[bytes]) -> None:
    _silent("ops", process.pid, 1000, started="1")
    assert not liveness.end_if_hung("ops")
    assert not _ends(process)


def test_systemd_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        liveness.report("ops")
        assert systemd.recv(100) == b"WATCHDOG=1"


class Unreachable:
    """A connection that is tried once in vain."""

    def ensure_connection(self, *_: Any, callback: Callable[[], None]) -> Unreachable:
        callback()
        return self


def test_a_worker_that_reconnects_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = symbol_by_name(app.conf.worker_consumer)
    consumer = kind.__new__(kind)
    consumer.app, consumer.hostname, consumer.first_connection_attempt = app, "ops@one", True
    consumer.ensure_connected(Unreachable())
    assert liveness.end_if_hung("ops")
    _silent("ops", os.getpid(), 100)
    monkeypatch.setattr(state, "should_stop", 1)
    with pytest.raises(WorkerShutdown):
        consumer.ensure_connected(Unreachable())
    assert not liveness.end_if_hung("ops"), "one that is to stop reports no more"


class Request:
    id = "1"


def test_a_task_that_no_idle_process_starts_is_a_hung_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits, runs = [0.0], Request(), Request()
    monkeypatch.setattr(state, "reserved_requests", {waits, runs})
    monkeypatch.setattr(state, "active_requests", {runs})
    watch = PoolWatch(clock=lambda: now[0])
    assert not watch.is_stuck(1), "all processes are busy"
    now[0] = STARTS_WITHIN
    assert not watch.is_stuck(2), "it waits from now on"
    now[0] = 2 * STARTS_WITHIN
    assert not watch.is_stuck(1)
    assert not watch.is_stuck(2)
    now[0] = 3 * STARTS_WITHIN
    assert watch.is_stuck(2)
    monkeypatch.setattr(state, "active_requests", {runs, waits})
    assert not watch.is_stuck(2), "it was started"


# --- Real processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path) as one:
        one.prepare()
        yield one


def _is_healthy(portal: Installation, name: str, *after: str) -> bool:
    command = [sys.executable, "-m", "portal.health_probe", name, *after]
    return subprocess.run(command, cwd=ROOT, env=portal.env, check=False).returncode == 0


START: dict[str, Callable[[Installation], object]] = {
    "ops": lambda portal: portal.start_worker("ops"),
    "beat": lambda portal: portal.start_beat(),
}


@pytest.mark.long
@pytest.mark.parametrize("name", START)
def test_a_stopped_main_process_is_ended(portal: Installation, name: str) -> None:
    START[name](portal)
    (process,) = portal._running
    until(lambda: _is_healthy(portal, name), what="the first report")
    process.send_signal(signal.SIGSTOP)
    until(lambda: not _is_healthy(portal, name, "6") and process.poll() is not None, what="its end", seconds=30)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.redis
def test_a_worker_outlives_an_outage_of_redis(tmp_path: Path, redis_server: Redis) -> None:
    """Of one that freezes and then ends, each for longer than the silence after which a process is ended."""
    soon = {"DJANGO_SETTINGS_MODULE": "tests.support.impatient_settings"}
    with installation(tmp_path, REDIS_URL=redis_server.url, **soon) as portal:
        portal.prepare()
        worker = portal.start_worker("ops")
        until(lambda: "worker.started" in portal.said("ops"), what="the worker")
        assert redis_server.process
        for outage in (lambda: redis_server.process.send_signal(signal.SIGSTOP), lambda: redis_server.stop(kill=True)):
            outage()
            end = time.monotonic() + 60
            while time.monotonic() < end:
                _is_healthy(portal, "ops", "6")
                assert worker.poll() is None
        redis_server.start()
        portal.python("from portal.queue import enqueue_on_commit; enqueue_on_commit('customers.dispatch')")
        look = "from customers.models import Heartbeat; print(Heartbeat.objects.filter(kind='scheduler').count())"
        until(lambda: portal.python(look) == "1", what="its work")


@pytest.mark.long
def test_a_web_server_that_answers_nothing_is_ended(tmp_path: Path) -> None:
    with installation(tmp_path, WEB_BIND=f"127.0.0.1:{free_port()}", WEB_CONCURRENCY="1") as portal:
        portal.prepare()
        web = portal.spawn("web", "-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi")
        until(lambda: _is_healthy(portal, "healthz"), what="the first page")
        os.killpg(web.pid, signal.SIGSTOP)  # both its processes
        until(lambda: not _is_healthy(portal, "healthz", "6") and web.poll() is not None, what="its end", seconds=40)
        os.killpg(web.pid, signal.SIGKILL)  # its stopped child, which a container or unit ends with it
        assert web.returncode == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.redis
def test_a_stopped_process_of_the_pool_ends_the_worker(tmp_path: Path, redis_server: Redis) -> None:
    """A message reaches it and is never started. The worker finds out and stops, and its health check ends it."""
    soon = {"DJANGO_SETTINGS_MODULE": "tests.support.impatient_settings"}
    with installation(tmp_path, REDIS_URL=redis_server.url, **soon) as portal:
        portal.prepare()
        command = ("worker", "-c", "1", "-Q", "ops", "-n", "ops@%h", "--without-gossip", "--without-mingle")
        worker = portal.spawn("ops", *CELERY, *command)
        until(lambda: "worker.started" in portal.said("ops"), what="the worker")
        (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGSTOP)
        portal.python("from portal.queue import enqueue_on_commit; enqueue_on_commit('customers.perform', 1)")
        until(lambda: "worker.stuck" in portal.said("ops"), what="the discovery", seconds=30)
        until(lambda: not _is_healthy(portal, "ops", "6") and worker.poll() is not None, what="its end", seconds=30)
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
