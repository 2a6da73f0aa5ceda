"""What Sentry receives from real processes: the error, and nothing secret or personal."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.env import KEYS
from tests.journeys.processes import CELERY, installation, until

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[1]
KEY = "SG.aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
PASSWORD = "harbour-lantern-canary-4815"
EMAIL = "canary.person@customer.example"
CANARIES = (KEY, PASSWORD, EMAIL, "canary.person")


class Ingest(ThreadingHTTPServer):
    """The address of Sentry that takes events. `said` is everything that came, as text."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Take)
        self.said: list[str] = []

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_address[1]}/1"

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [line for text in self.said for line in text.splitlines() if line.startswith("{")]
        return [event for line in lines if "event_id" in (event := json.loads(line)) and "level" in event]


class Take(BaseHTTPRequestHandler):
    server: Ingest

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        text = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.said.append(f"{self.path}\n{self.headers}\n{text.decode()}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name in the standard library
        """Say nothing."""


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with Ingest() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


WEB = f"""
import django
django.setup()
import sentry_sdk, structlog
from django.http import HttpResponse
from django.test import Client
from django.urls import get_resolver
from portal.access import throttling

throttling.refused_request = lambda *_: None  # there is no database that counts

def broken(request, *args, **kwargs):
    held = request.POST["key"]
    if request.GET.get("log"):
        structlog.get_logger("canary").error("canary.logged", person={EMAIL!r}, password={PASSWORD!r})
        return HttpResponse("x")
    raise RuntimeError("no way to write to {EMAIL} with {KEY}, password={PASSWORD}")

def patterns(resolver):
    for each in resolver.url_patterns:
        yield from patterns(each) if hasattr(each, "url_patterns") else [each]

next(each for each in patterns(get_resolver()) if each.name == "account_login").callback = broken
client = Client(raise_request_exception=False, headers={{"Authorization": "Bearer {KEY}", "Host": "localhost"}})
client.cookies["sid"] = {PASSWORD!r}
for query in ("", "&log=1"):
    client.post("/sign-in/?mail={EMAIL}" + query, {{"key": {KEY!r}, "password": {PASSWORD!r}, "email": {EMAIL!r}}})
sentry_sdk.flush(20)
"""


def _env(tmp_path: Path, dsn: str) -> dict[str, str]:
    return {
        **os.environ, **KEYS, "DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/x.sqlite3",
        "DJANGO_SETTINGS_MODULE": "portal.settings", "SENTRY_DSN": dsn, "LOG_LEVEL": "CRITICAL",
    }  # fmt: skip


def _run(code: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_an_error_of_a_page_arrives_without_its_content(tmp_path: Path, ingest: Ingest) -> None:
    done = _run(WEB, _env(tmp_path, ingest.dsn) | {"LOG_LEVEL": "ERROR"})
    assert done.returncode == 0, done.stderr[-2000:]
    errors = {event["exception"]["values"][-1]["type"]: event for event in ingest.events if "exception" in event}
    value = errors["RuntimeError"]["exception"]["values"][-1]
    assert value["value"] == "no way to write to [email] with [hidden], password=[hidden]"
    assert value["stacktrace"]["frames"][-1]["function"] == "broken"
    assert set(errors["RuntimeError"]["tags"]) == {"request_id"}
    assert "canary.logged" in {event.get("message") for event in ingest.events}
    assert [canary for canary in CANARIES for text in ingest.said if canary in text] == []


def test_without_the_setting_nothing_is_loaded(tmp_path: Path) -> None:
    code = "import django, sys; django.setup(); print([n for n in sys.modules if n.startswith('sentry')])"
    assert _run(code, _env(tmp_path, "")).stdout.strip() == "[]"


def test_without_the_extra_the_start_says_so(tmp_path: Path) -> None:
    code = "import sys; sys.modules['sentry_sdk'] = None\nimport portal.settings"
    said = _run(code, _env(tmp_path, "http://public@127.0.0.1:9/1")).stderr
    assert "SENTRY_DSN is set, but sentry-sdk is not installed. Install what requirements-production.txt lists." in said


@pytest.mark.long
@pytest.mark.slow
def test_an_error_of_a_worker_arrives_without_its_arguments(tmp_path: Path, ingest: Ingest) -> None:
    """A task whose argument is a key: its name and its error arrive."""
    with installation(tmp_path / "data", SENTRY_DSN=ingest.dsn) as portal:
        portal.prepare()
        portal.spawn("worker", *CELERY, "worker", "-c", "1", "-Q", "ops", PORTAL_WORKER="1")
        portal.python(
            f"from celery import current_app; current_app.send_task('customers.perform', args=['{KEY} {EMAIL}'])"
        )
        events = until(lambda: ingest.events, what="an event of the worker")
    assert events[0]["transaction"] == "customers.perform"
    assert events[0]["exception"]["values"][-1]["type"] == "ValueError"
    assert [canary for canary in CANARIES for text in ingest.said if canary in text] == []
