"""Security headers on every answer: each route in each way, errors, redirects, files, and what gunicorn says itself."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from django.template.backends.django import Template
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import Settings

from portal import health
from portal.security_headers import CONTENT_SECURITY_POLICY, SECURITY_HEADERS
from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import World
from tests.house.test_answers import database_down  # noqa: F401 - a fixture
from tests.house.test_deploy import PRODUCTION, _run
from tests.house.test_permission_matrix import Walker
from tests.journeys.processes import Installation, until
from tests.support import template
from tests.support.factories import UserFactory
from tests.support.people import sign_in
from tests.support.postgres import free_port
from tests.support.redis import Redis
from tests.support.sandbox import SandboxProcess

# What each route's answer may say instead, and why.
OWN_POLICY = {
    "customers:account-sign-in-as": "its form leads to the provider",
    "mfa_activate_totp": "its picture holds the secret, and is part of the page",
}
# On SQLite or PostgreSQL, with or without https: the same but for where reports of a page go.
WITHOUT_HTTPS = CONTENT_SECURITY_POLICY.removesuffix("; report-to portal")


def wrong_headers(headers: Mapping[str, str], *, is_file: bool = False, policy: str = WITHOUT_HTTPS) -> list[str]:
    """Return what is missing of the headers of an answer, or weaker than it should be."""
    wanted = SECURITY_HEADERS | {"Content-Security-Policy": policy}
    del wanted["Cache-Control"]
    wrong = [f"{name}: {headers.get(name)}" for name, value in wanted.items() if headers.get(name) != value]
    if not is_file and "no-store" not in headers.get("Cache-Control", ""):
        wrong.append("Cache-Control")
    return [*wrong, "Server"] if "Server" in headers else wrong


def test_the_policy_is_the_strictest_that_htmx_allows() -> None:
    parts = dict(each.partition(" ")[::2] for each in CONTENT_SECURITY_POLICY.split("; "))
    assert parts.pop("default-src") == "'none'"
    assert {parts.pop(name) for name in ("frame-ancestors", "base-uri")} == {"'none'"}
    assert parts.pop("require-trusted-types-for") == "'script'"
    assert parts.pop("trusted-types") == "default portal-inspection"
    assert (parts.pop("report-uri"), parts.pop("report-to")) == (reverse("browser-reports:collect"), "portal")
    assert SECURITY_HEADERS["Reporting-Endpoints"] == f'portal="{reverse("browser-reports:collect")}"'
    assert set(parts) == {f"{each}-src" for each in ("script", "style", "img", "font", "connect")} | {"form-action"}
    assert set(parts.values()) == {"'self'"}


def test_every_feature_is_off_but_those_in_use() -> None:
    allowed = dict(each.split("=") for each in SECURITY_HEADERS["Permissions-Policy"].split(", "))
    assert len(allowed) > 30
    own = {name for name, value in allowed.items() if value != "()"}
    assert own == {"clipboard-write", "publickey-credentials-create", "publickey-credentials-get"}
    assert {allowed[name] for name in own} == {"(self)"}


@pytest.mark.long
def test_every_route_in_every_way(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - the fixture
    world = World(desk)
    walker = Walker(world)
    monkeypatch.setattr(Template, "render", lambda *_, **__: "")
    statuses: dict[int, int] = defaultdict(int)
    for route, url, missing in walker.rows:
        for who, address in (("admin", url), ("auditor", url), ("nobody", url), ("admin", missing)):
            for method, fragment in (("GET", False), ("POST", True), ("PUT", False)):
                if address:
                    answer = walker.ask(world.cookies[who], method, address, fragment=fragment)
                    statuses[answer.status_code] += 1
                    wrong = wrong_headers(answer.headers)
                    if route in OWN_POLICY:
                        wrong = [each for each in wrong if not each.startswith("Content-Security-Policy")]
                        assert answer["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
                    assert wrong == [], f"{route} {method} {answer.status_code}: {wrong}"
    assert {200, 302, 400, 401, 403, 404, 405, 422} <= set(statuses), statuses


@pytest.fixture
def admin(db: None) -> Client:
    return sign_in(Client(raise_request_exception=False), UserFactory(role="admin"))


def test_the_picture_of_a_second_factor_is_shown(admin: Client) -> None:
    answer = admin.get(reverse("mfa_activate_totp"))
    assert answer["Content-Security-Policy"] == WITHOUT_HTTPS.replace("img-src 'self'", "img-src 'self' data:")


def test_errors_before_and_after_a_view(admin: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "no such host": admin.get("/", headers={"Host": "nobody.example"}),
        "no such page": admin.get("/no-such/"),
        "a NUL": admin.get("/%00/"),
        "too many fields": admin.post("/sign-in/", {f"f{n}": "" for n in range(2_001)}),
        "too long": admin.post("/browser-reports/", b" " * 20_000, content_type="application/json"),
        "no token": Client(enforce_csrf_checks=True).post("/sign-in/", {"login": "a"}),
        "alive": admin.get("/healthz"),
        "ready": admin.get("/readyz"),
        "no metrics": admin.get("/metrics"),
        "a file": admin.get("/customers/export/"),
        "signed out": Client().get("/customers/"),
    }
    settings.METRICS_TOKEN = "a token of twenty or more"
    answers["metrics refused"] = Client().get("/metrics")
    answers["metrics"] = Client().get("/metrics", headers={"Authorization": f"Bearer {settings.METRICS_TOKEN}"})
    monkeypatch.setattr(health, "_plain", None)
    answers["a failure"] = admin.get("/readyz")
    assert {what: wrong for what, answer in answers.items() if (wrong := wrong_headers(answer.headers))} == {}
    assert {what: answer.status_code for what, answer in answers.items()} == {
        "no such host": 400, "no such page": 404, "a NUL": 404, "too many fields": 400, "too long": 413,
        "no token": 403, "alive": 200, "ready": 200, "no metrics": 404, "a file": 200, "signed out": 302,
        "metrics refused": 401, "metrics": 200, "a failure": 500,
    }  # fmt: skip


def test_too_many_requests(db: None) -> None:
    client = Client()
    for _ in range(61):
        answer = client.post("/browser-reports/", "[]", content_type="application/reports+json")
    assert (answer.status_code, wrong_headers(answer.headers)) == (429, [])


def test_a_database_that_is_down(admin: Client, database_down: None) -> None:  # noqa: F811 - the fixture
    for path in ("/", "/readyz"):
        answer = admin.get(path)
        assert (answer.status_code, wrong_headers(answer.headers)) == (503, [])


@pytest.mark.parametrize("path", ["/", "/customers/", "/static/css/base.css"])
def test_the_redirect_to_https(db: None, path: str) -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        answer = Client().get(path)
    assert (answer.status_code, wrong_headers(answer.headers)) == (301, [])


def test_over_https_browsers_are_told_to_stay_there(db: None) -> None:
    with override_settings(SECURE_HSTS_SECONDS=31_536_000, SECURE_HSTS_INCLUDE_SUBDOMAINS=True):
        for path in ("/sign-in/", "/no-such/", "/healthz"):
            answer = Client().get(path, secure=True)
            assert answer["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
            assert wrong_headers(answer.headers, policy=CONTENT_SECURITY_POLICY) == []


def test_signing_out_empties_the_cache(admin: Client) -> None:
    answer = admin.post("/sign-out/")
    assert (answer.status_code, answer["Clear-Site-Data"], wrong_headers(answer.headers)) == (302, '"cache"', [])


@pytest.mark.parametrize("name", SECURITY_HEADERS)
def test_a_header_that_is_missing_or_weaker_is_found(name: str) -> None:
    given = SECURITY_HEADERS | {"Content-Security-Policy": WITHOUT_HTTPS}
    assert wrong_headers(given) == []
    assert wrong_headers(given | {name: ""})
    assert wrong_headers({each: value for each, value in given.items() if each != name})
    assert wrong_headers(given | {"Server": "gunicorn"})


# --- A real server ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis) -> Iterator[tuple[int, Path]]:
    """The portal in production under gunicorn: its port, and the folder of its static files."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    template.copy_to(folder / "portal.sqlite3")
    production = PRODUCTION | {
        "DATABASE_URL": f"sqlite:///{folder / 'portal.sqlite3'}", "REDIS_URL": redis_server.url,
        "DATA_DIR": str(folder), "STATIC_ROOT": str(folder / "static"), "WEB_BIND": f"127.0.0.1:{port}",
        "DJANGO_SETTINGS_MODULE": "portal.settings", "PORTAL_ENV": "production", "WEB_CONCURRENCY": "1",
    }  # fmt: skip
    assert _run("manage.py", "collectstatic", "--noinput", env=production).returncode == 0
    portal = Installation(folder, SandboxProcess(), **production)
    portal.spawn("web", "-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi")
    try:
        until(
            lambda: raw(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), what="the web server"
        )
        yield port, folder / "static"
    finally:
        portal.end_all()


def raw(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes] | None:
    """Return status, headers and body of the answer to some bytes; None without an answer."""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as line:
            line.sendall(sent)
            with closing(http.client.HTTPResponse(line)) as answer:
                answer.begin()
                return answer.status, dict(answer.headers.items()), answer.read()
    except (OSError, http.client.HTTPException):
        return None


@pytest.mark.long
@pytest.mark.redis
@pytest.mark.processes
class TestServer:
    def get(self, port: int, path: str, *lines: str) -> tuple[int, dict[str, str], bytes]:
        host = PRODUCTION["ALLOWED_HOSTS"].partition(",")[0]
        head = [f"GET {path} HTTP/1.1", f"Host: {host}", "X-Forwarded-Proto: https", "Connection: close", *lines]
        answer = raw(port, "\r\n".join([*head, "", ""]).encode())
        assert answer
        return answer

    def test_static_files(self, served: tuple[int, Path]) -> None:
        """Each file that browsers get, by its hashed name and by its plain one."""
        port, folder = served
        files = json.loads((folder / "staticfiles.json").read_text(encoding="utf-8"))["paths"]
        ours = {plain: hashed for plain, hashed in files.items() if re.match("(css|js|img|vendor)/", plain)}
        assert {"css/base.css", "js/trusted-types.js", "img/icons.svg", "vendor/idiomorph-ext.min.js"} <= set(ours)
        for path in [*ours, *ours.values()]:
            status, headers, _body = self.get(port, f"/static/{path}")
            policy = headers["Content-Security-Policy"]
            assert (status, wrong_headers(headers, is_file=True, policy=policy)) == (200, []), path
            assert policy in (CONTENT_SECURITY_POLICY, WITHOUT_HTTPS)
            assert "no-store" not in headers["Cache-Control"]
            assert "immutable" in headers["Cache-Control"] or path in ours
            assert "Server" not in headers

    @pytest.mark.parametrize("path", ["/sign-in/", "/", "/no-such/", "/healthz", "/static/no-such.css", "/metrics"])
    def test_pages(self, served: tuple[int, Path], path: str) -> None:
        status, headers, _body = self.get(served[0], path)
        policy = headers["Content-Security-Policy"]
        assert status in (200, 301, 302, 404)
        assert wrong_headers(headers, policy=policy) == []
        assert "Server" not in headers

    @pytest.mark.parametrize(
        ("sent", "statuses"),
        [
            (b"nonsense\r\n\r\n", {400}),
            (b"GET / HTTP/9.9\r\n\r\n", {400}),
            (b"GET /<script>alert(1)</script> XTTP/1.1\r\n\r\n", {400}),
            (b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", {400}),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", {400, 431}),
            (b"GET /" + b"y" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414}),
            (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", {400, 501}),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", {400}),
            (b"POST / HTTP/1.1\r\nHost: x\r\nExpect: y\r\nContent-Length: 0\r\n\r\n", {417}),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(200)) + b"\r\n", {400, 431}),
        ],
    )
    def test_requests_that_cannot_be_read(self, served: tuple[int, Path], sent: bytes, statuses: set[int]) -> None:
        answer = raw(served[0], sent)
        assert answer
        status, headers, body = answer
        assert status in statuses
        assert wrong_headers(headers, policy=CONTENT_SECURITY_POLICY) == []
        assert "Server" not in headers
        assert b"<" not in body
