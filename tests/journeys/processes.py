"""The whole portal as real processes on this machine: sandbox, web, worker, beat, and what they share.

Nothing is eager and nothing is faked: SQLite file and filesystem broker unless the environment names others. Every
process is ended by its own pid.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from portal.queue_settings import NAMES
from tests.support import template
from tests.support.postgres import free_port
from tests.support.sandbox import ADMIN_KEY, AHASEND_ACCOUNT, AHASEND_KEY, EU_KEY, KEY, SandboxProcess

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "harbour-lantern-orchard-2731"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Generous, for machines that do much else at the same time; everything is polled and goes on as soon as it can.
PATIENCE = 120.0
CELERY = ("-m", "celery", "-A", "portal", "--quiet")
POOL = ("--pool=threads", "-c", "4", "--without-gossip", "--without-mingle")
T = TypeVar("T")


def until(look: Callable[[], T | None], *, what: str, seconds: float = PATIENCE, every: float = 0.2) -> T:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(every)
    return found


class Installation:
    """One portal with its own data folder. `env` is what every process of it gets; `code` is where its release is."""

    def __init__(self, folder: Path, sandbox: SandboxProcess, code: Path = ROOT, **more: str) -> None:
        self.folder, self.sandbox, self.code = folder, sandbox, code
        self.url = ""
        self.env: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")},
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "PORTAL_ENV_FILE": "",
            "PORTAL_ENV": "development",
            "PORTAL_DEMO": "0",
            # What production requires is shown by test_without_docker.
            "SECOND_FACTOR_ROLES": "admin,finance" if more.get("PORTAL_ENV") == "production" else "",
            "DATA_DIR": str(folder),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "FIELD_KEYS": "journey:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "AUDIT_KEY": secrets.token_urlsafe(48),
            "DEMO_PASSWORD": PASSWORD,
            "SANDBOX_URL": sandbox.base_url,
            "SANDBOX_SENDGRID_KEY": KEY,
            "SANDBOX_SENDGRID_EU_KEY": EU_KEY,
            "SANDBOX_AHASEND_KEY": AHASEND_KEY,
            "SANDBOX_AHASEND_ACCOUNT": AHASEND_ACCOUNT,
            "SANDBOX_ADMIN_KEY": ADMIN_KEY,
            "PYTHONUNBUFFERED": "1",
            **more,
        }
        self._running: list[subprocess.Popen[bytes]] = []
        self._inside: subprocess.Popen[str] | None = None

    def manage(self, *argv: str, **more: str) -> str:
        """Run a management command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *argv], cwd=self.code, env={**self.env, **more}, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}: {done.stderr.decode()[-3000:]}"
        return done.stdout.decode()

    def prepare(self) -> None:
        """Make the database as `migrate` and `createcachetable` do."""
        template.copy_to(self.folder / "portal.sqlite3")

    def python(self, code: str) -> str:
        """Run a few lines inside the installation, as a look into its database, and return what they print."""
        if self._inside is None:
            self._inside = subprocess.Popen(
                [sys.executable, "-m", "tests.journeys.inside"], cwd=ROOT, env=self.env, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip
        assert self._inside.stdin
        assert self._inside.stdout
        print(json.dumps(code), file=self._inside.stdin, flush=True)
        said, error = json.loads(self._inside.stdout.readline())
        assert not error, error
        return str(said).strip()

    def spawn(self, name: str, *argv: str, **more: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.out").open("ab")
        process = subprocess.Popen(
            [sys.executable, *argv], cwd=self.code, env={**self.env, **more}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        log.close()
        self._running.append(process)
        return process

    def start_web(self, name: str = "web") -> str:
        return self.start_web_process(name)[0]

    def start_web_process(self, name: str) -> tuple[str, subprocess.Popen[bytes]]:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        process = self.spawn(
            name, "-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi",
            WEB_BIND=f"127.0.0.1:{port}", WEB_CONCURRENCY="1",
        )  # fmt: skip
        until(lambda: answers(f"{self.url}/sign-in/"), what="the sign-in page")
        return self.url, process

    def start_worker(self, name: str = "worker", queues: str = ",".join(NAMES), **more: str) -> subprocess.Popen[bytes]:
        return self.spawn(
            name, *CELERY, "worker", *POOL, "-Q", queues, "-n", f"{name}@%h", PORTAL_WORKER="1", **more
        )  # fmt: skip

    def start_worker_that_dies_at(self, point: str) -> subprocess.Popen[bytes]:
        """A worker that kills itself at a point of tests/support/failpoints.py."""
        return self.start_worker(PORTAL_CRASH_AT=point, DJANGO_SETTINGS_MODULE="tests.support.crashing_settings")

    def start_beat(self) -> subprocess.Popen[bytes]:
        return self.spawn("beat", *CELERY, "beat")

    def end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self._running:
            self._running.remove(process)

    def end_all(self) -> None:
        if self._inside is not None:
            self._inside.communicate(timeout=20)  # closes its input, by which it ends
            self._inside = None
        for process in list(self._running):
            self.end(process)

    def said(self, name: str) -> str:
        path = self.folder / f"{name}.out"
        return path.read_text(errors="replace") if path.exists() else ""


@contextmanager
def installation(folder: Path, **more: str) -> Iterator[Installation]:
    """An installation with its own sandbox; all of it is ended at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with SandboxProcess(data=folder / "sandbox.sqlite3") as sandbox:
        one = Installation(folder, sandbox, **more)
        try:
            yield one
        finally:
            one.end_all()


def answers(url: str) -> bool:
    try:
        with OPENER.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
