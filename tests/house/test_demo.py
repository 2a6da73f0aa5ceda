"""`make run`, for real: from an empty folder to the sign-in page, twice, and nothing left behind."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.demo import run as demo_run
from portal.sandbox import cli as sandbox

ROOT = Path(__file__).resolve().parents[2]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
pytestmark = pytest.mark.slow


def test_the_folder_of_the_demo_is_that_of_the_project() -> None:
    """Its data is stored there, and its migrations are those that make the demo prepare itself anew."""
    assert demo_run.BASE_DIR == ROOT


class Demo:
    def __init__(self, data: Path) -> None:
        self.data = data
        self._log = data.with_suffix(".out").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portal.demo.run"],
            # Processes are tested here; what the demo holds is tested in tests/journeys.
            cwd=ROOT, env={"DATA_DIR": str(data), "PATH": "/usr/bin:/bin", "DEMO_SEED": "0"},
            stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def said(self) -> str:
        return Path(self._log.name).read_text()

    def wait_ready(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while not (found := re.search(r"ready after [\d.]+ s:  (http://\S+)/sign-in/", self.said())):
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() < deadline, self.said()[-3000:]
            time.sleep(0.1)
        return found.group(1)

    def members(self) -> dict[int, str]:
        """Every process that works on this folder, by its environment; the supervisor itself holds it too."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"DATA_DIR={self.data}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._log.close()
        return code


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Demo]:
    one = Demo(tmp_path / "var")
    yield one
    one.end()


def _status(url: str) -> int:
    try:
        with OPENER.open(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def _answers_again(url: str) -> None:
    """The port stays ours while web is started again: what was being answered may be reset, none is refused."""
    deadline = time.monotonic() + 30
    while (status := _status_or_error(url)) != 200:
        assert not isinstance(status, ConnectionRefusedError)
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def _status_or_error(url: str) -> int | object:
    try:
        return _status(url)
    except OSError as error:
        return getattr(error, "reason", error)


def _within(seconds: float, pids: set[int], one: Demo) -> None:
    deadline = time.monotonic() + seconds
    while left := pids & set(one.members()):
        assert time.monotonic() < deadline, {pid: one.members().get(pid) for pid in left}
        time.sleep(0.1)


@pytest.mark.long
def test_from_an_empty_folder_to_the_sign_in_page_and_to_nothing(running: Demo) -> None:
    url = running.wait_ready(180)
    assert _status(f"{url}/sign-in/") == 200
    assert _status(f"{url}/readyz") == 200
    assert _status(f"{url}/static/css/base.css") == 200
    for role, (email, _) in demo_run.LOGINS.items():
        assert re.search(rf"{role}\s+{re.escape(email)}\s+\S{{12,}}", running.said())
    expected = ("gunicorn", "celery -A portal --quiet worker", "celery -A portal --quiet beat", "portal.sandbox")
    deadline = time.monotonic() + 20
    while missing := [part for part in expected if part not in " ".join(running.members().values())]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.1)
    assert stat.S_IMODE((running.data / "demo.env").stat().st_mode) == 0o600

    refused = Demo(running.data)
    assert refused.process.wait(30) == 1
    assert "already running" in refused.said()
    refused.end()

    everyone = set(running.members())
    assert running.end(signal.SIGINT) == 0
    assert everyone & set(running.members()) == set()


@pytest.fixture
def running_again(tmp_path: Path) -> Iterator[Demo]:
    first = Demo(tmp_path / "var")
    try:
        first.wait_ready(180)
    finally:
        first.end()
    one = Demo(tmp_path / "var")
    yield one
    one.end()


@pytest.mark.long
def test_a_second_start_keeps_data_and_a_kill_leaves_no_process(running_again: Demo) -> None:
    running = running_again
    before = (running.data / "demo.env").read_text()
    url = running.wait_ready(60)
    assert "Creating the database" not in running.said()
    assert (running.data / "demo.env").read_text() == before

    web = next(pid for pid, line in running.members().items() if "gunicorn" in line)
    subprocess.run(["kill", "-9", str(web)], check=True)
    _answers_again(f"{url}/healthz")

    everyone = set(running.members())
    running.process.kill()
    running.process.wait()
    _within(30, everyone, running)


def test_a_port_somebody_else_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(demo_run.UnableToStart, match=f"Port {port} is not available"):
            demo_run._web_socket()


def _chosen(folder: Path, start: threading.Barrier) -> tuple[socket.socket, socket.socket]:
    start.wait(10)
    return demo_run._web_socket(), demo_run._sandbox_socket(folder)


def test_parallel_starts_get_and_reserve_different_ports(tmp_path: Path) -> None:
    folders = [tmp_path / str(n) for n in range(6)]
    start = threading.Barrier(len(folders))
    with contextlib.ExitStack() as held, concurrent.futures.ThreadPoolExecutor(len(folders)) as threads:
        chosen = [each for pair in threads.map(_chosen, folders, [start] * len(folders)) for each in pair]
        for each in chosen:
            held.enter_context(each)
        ports = [each.getsockname()[1] for each in chosen]
        assert len(set(ports)) == len(ports)
        # Nothing serves yet, and nobody else gets in: not even who may share a port that only is bound.
        for port in ports:
            with pytest.raises(OSError, match="in use"):
                demo_run._held(port)


def test_the_sandbox_reuses_its_port_unless_another_demo_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "PORT_WAIT", 0.3)
    with demo_run._sandbox_socket(tmp_path) as first:
        port = demo_run._port(first)
        kept = demo_run.demo_settings(tmp_path, sandbox_port=port)
    with demo_run._sandbox_socket(tmp_path) as again:
        assert demo_run._port(again) == port
        assert demo_run.demo_settings(tmp_path, sandbox_port=port) == kept

        with demo_run._sandbox_socket(tmp_path) as moved:
            assert demo_run._port(moved) != port
            settings = demo_run.demo_settings(tmp_path, sandbox_port=demo_run._port(moved))
            assert settings == kept | {"SANDBOX_PORT": str(demo_run._port(moved))}


def test_a_key_that_begins_with_a_dash_is_still_a_key(tmp_path: Path) -> None:
    env = demo_run.demo_settings(tmp_path, sandbox_port=1) | {"SANDBOX_ADMIN_KEY": "-starts-with-a-dash"}
    with demo_run._held(0) as held:
        argv = demo_run._sandbox(env, tmp_path, held).argv
    parser = argparse.ArgumentParser()
    sandbox.add_arguments(parser)
    assert parser.parse_args(argv[3:]).admin_key == "-starts-with-a-dash"
    assert parser.parse_args(argv[3:]).dns_seconds == 30  # or no DNS check could ever succeed


def test_settings_of_another_installation_do_not_reach_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"PORTAL_ENV_FILE": "/etc/portal", "DATABASE_URL": "postgres://db/portal", "LOOPBACK_ONLY": "1"}
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    env = demo_run._environment(demo_run.demo_settings(tmp_path, sandbox_port=1), tmp_path)
    assert {name: env.get(name) for name in others} == dict.fromkeys(others) | {"PORTAL_ENV_FILE": ""}


def test_secrets_are_new_for_every_installation(tmp_path: Path) -> None:
    first, second = (demo_run.demo_settings(folder, sandbox_port=1) for folder in _made(tmp_path, "a", "b"))
    secret = {name for name in first if name != "SANDBOX_PORT"}
    assert {name for name in secret if first[name] == second[name]} == set()
    assert demo_run.demo_settings(tmp_path / "a", sandbox_port=1) == first


def _made(parent: Path, *names: str) -> tuple[Path, ...]:
    for name in names:
        (parent / name).mkdir()
    return tuple(parent / name for name in names)


def _prepared(folder: Path, url: str = "http://127.0.0.1:1") -> demo_run.PreparedDemo:
    return demo_run.PreparedDemo(folder, {"SANDBOX_URL": url})


def test_only_an_unfinished_first_start_starts_over(tmp_path: Path) -> None:
    database = tmp_path / "portal.sqlite3"
    _prepared(tmp_path).clear_half_made()
    database.write_text("half a story")

    again = _prepared(tmp_path)
    again.clear_half_made()
    assert not database.exists()
    assert not again.complete()

    database.write_text("the whole story")
    again.keep()
    later = _prepared(tmp_path)
    later.clear_half_made()
    assert later.complete()
    assert database.read_text() == "the whole story"


def test_a_new_sandbox_address_loses_no_data(tmp_path: Path) -> None:
    (tmp_path / "portal.sqlite3").write_text("the whole story")
    _prepared(tmp_path).keep()
    moved = _prepared(tmp_path, "http://127.0.0.1:2")
    moved.clear_half_made()
    assert not moved.complete()
    assert (tmp_path / "portal.sqlite3").exists()
