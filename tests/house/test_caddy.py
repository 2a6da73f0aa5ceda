"""deploy/caddy/Caddyfile in front of the portal: TLS, the client's address, limits, and what is logged."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.house.test_deploy import PRODUCTION, ROOT, _is_open, _run
from tests.journeys.processes import Installation, until
from tests.support import template
from tests.support.postgres import free_port
from tests.support.redis import Redis
from tests.support.sandbox import SandboxProcess
from tests.support.skips import require

pytestmark = pytest.mark.processes
CADDYFILE = (ROOT / "deploy" / "caddy" / "Caddyfile").read_text()
HOST = "portal.example.com"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes


class Caddy:
    """Caddy with the file as it is, on free ports and with a certificate of its own authority."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.https, self.http, probe = free_port(), free_port(), free_port()
        text = CADDYFILE.replace(
            "admin off", f"admin off\nskip_install_trust\nhttps_port {self.https}\nhttp_port {self.http}"
        )
        text = text.replace("{$HOSTS} {", "{$HOSTS} {\ntls internal").replace(":2080", f":{probe}")
        (folder / "Caddyfile").write_text(text)
        self.log = folder / "log"
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "HOSTS": f"{HOST}, other.example.com",
            "PORTAL": f"127.0.0.1:{upstream}",
        }  # fmt: skip
        self._command = ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]

    @contextmanager
    def running(self) -> Iterator[Caddy]:
        with self.log.open("wb") as log, subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log) as one:
            try:
                until(lambda: _is_open(self.https), what="Caddy", seconds=20, every=0.05)
                yield self
            finally:
                one.terminate()

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.https))
        with closing(http.client.HTTPConnection(HOST, timeout=20)) as client:
            client.sock = context.wrap_socket(plain, server_hostname=HOST)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request(method, path, body=body or None, headers=named)
            with client.getresponse() as answer:
                return Answer(answer.status, answer.headers, answer.read())


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers it received."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):  # a client that sent too much is gone
            self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its own name
        pass


@pytest.fixture
def caddy(tmp_path: Path) -> Iterator[Caddy]:
    require(shutil.which("caddy"), "caddy is not installed (Debian: apt-get install caddy)")
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        with Caddy(tmp_path, echo.server_address[1]).running() as one:
            yield one
        echo.shutdown()


def test_what_a_client_says_about_itself_is_replaced(caddy: Caddy) -> None:
    claimed = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "http", "X_Forwarded_Host": "evil.example.com"}
    received = json.loads(caddy.request("GET", "/", **claimed).body)
    assert received["X-Forwarded-For"] == "127.0.0.1"
    assert received["X-Forwarded-Proto"] == "https"
    assert received["Host"] == HOST


def test_a_large_upload_is_refused(caddy: Caddy) -> None:
    assert caddy.request("POST", "/", b"x" * 2_000_000).status == 200
    assert caddy.request("POST", "/", b"x" * 6_000_000).status in (413, 502)  # 502 by Caddy 2.6


def test_its_own_answers_are_as_strict(caddy: Caddy) -> None:
    """Of an address that it doesn't pass on, of a body that is too large, and of a portal that is down."""
    answers = [caddy.request("GET", "/metrics"), caddy.request("POST", "/", b"x" * 6_000_000)]
    for answer in answers:
        assert answer.status >= 400
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in answer.headers
    passed_on = caddy.request("GET", "/")
    assert passed_on.headers.get_all("Strict-Transport-Security") == ["max-age=31536000; includeSubDomains"]


def test_metrics_are_read_from_inside_alone(caddy: Caddy) -> None:
    assert caddy.request("GET", "/metrics").status == 404


def test_the_log_holds_no_secret(caddy: Caddy) -> None:
    for path in ("/customers/?q=secret-1", "/invitation/secret-2/", "/invitation/secret-2?next=secret-3"):
        caddy.request("GET", path, Cookie="__Host-sid=secret-4", Referer=f"https://{HOST}/?secret-5")
    said = until(lambda: (text := caddy.log.read_text()).count('"status"') == 3 and text, what="three lines", seconds=5)
    assert "secret-" not in said
    assert '"uri":"/customers/"' in said
    assert '"remote_ip":"127.0.0.1"' in said


def test_http_is_redirected(caddy: Caddy) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", caddy.http, timeout=5)) as client:
        client.request("GET", "/customers/", headers={"Host": HOST})
        with client.getresponse() as answer:
            assert (answer.status, answer.headers["Location"]) == (308, f"https://{HOST}/customers/")


@pytest.mark.long
@pytest.mark.redis
def test_the_portal_is_served_over_tls(tmp_path: Path, redis_server: Redis) -> None:
    """A page without a redirect loop, with its security headers, for a host that the portal accepts."""
    require(shutil.which("caddy"), "caddy is not installed (Debian: apt-get install caddy)")
    port = free_port()
    template.copy_to(tmp_path / "portal.sqlite3")
    production = PRODUCTION | {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'portal.sqlite3'}", "REDIS_URL": redis_server.url,
        "DATA_DIR": str(tmp_path), "STATIC_ROOT": str(tmp_path / "static"), "WEB_BIND": f"127.0.0.1:{port}",
        "DJANGO_SETTINGS_MODULE": "portal.settings", "PORTAL_ENV": "production",
    }  # fmt: skip
    assert _run("manage.py", "collectstatic", "--noinput", env=production).returncode == 0
    portal = Installation(tmp_path, SandboxProcess(), **production)
    portal.spawn("web", "-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi")
    try:
        with Caddy(tmp_path, port).running() as caddy:
            until(lambda: _is_open(port), what="the web server")
            answer = caddy.request("GET", "/sign-in/")
            assert answer.status == 200
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
            assert "__Host-csrf" in (answer.headers["Set-Cookie"] or "")
            assert caddy.request("GET", "/sign-in/", Host="other.example.com").status == 400
            assert caddy.request("GET", "/readyz").status == 200
    finally:
        portal.end_all()
