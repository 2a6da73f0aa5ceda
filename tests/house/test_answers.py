"""What every answer carries, and what whoever watches the process is told."""

from __future__ import annotations

import gzip
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from portal import health, health_probe, middleware, security_headers
from tests.support.factories import UserFactory
from tests.support.people import sign_in
from tests.support.postgres import free_port


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/sign-in/", "/", "/no-such-page/", "/healthz"])
def test_strict_headers_are_on_every_answer(client: Client, path: str) -> None:
    answer = client.get(path)
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    assert "no-store" in answer["Cache-Control"]
    assert "HX-Request" in answer["Vary"]


@pytest.mark.django_db
def test_pages_are_compressed_and_files_are_not(client: Client) -> None:
    sign_in(client, UserFactory(role="admin"))
    asked = {"Accept-Encoding": "gzip"}
    page, plain = client.get("/customers/", headers=asked), client.get("/customers/")
    assert (page["Content-Encoding"], plain.get("Content-Encoding")) == ("gzip", None)
    assert "Accept-Encoding" in page["Vary"]
    assert b"</html>" in gzip.decompress(page.content)
    assert len(page.content) < len(plain.content) / 2
    export = client.get("/customers/export/", headers=asked)
    assert export.status_code == 200
    assert "Content-Encoding" not in export


@pytest.mark.django_db
def test_the_request_id_is_ours_and_new_each_time(client: Client) -> None:
    first = client.get("/healthz", headers={"X-Request-Id": "made-up-by-the-client"})["X-Request-Id"]
    second = client.get("/healthz")["X-Request-Id"]
    assert uuid.UUID(first)
    assert first != second


def test_a_view_may_say_how_long_its_answer_keeps() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers={"Cache-Control": "private, max-age=60", "Vary": "Cookie"})

    answer = security_headers.security_headers(view)(RequestFactory().get("/"))
    assert answer["Cache-Control"] == "private, max-age=60"
    assert answer["Vary"] == "Cookie, HX-Request"


class _Person:
    def __init__(self, zone: str) -> None:
        self.timezone = zone


@pytest.mark.parametrize(
    ("zone", "shown"), [("Asia/Tokyo", "Asia/Tokyo"), ("No/Where", "UTC"), ("../etc", "UTC"), ("", "UTC")]
)
def test_the_persons_zone_holds_for_the_request_and_ends_with_it(zone: str, shown: str) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(timezone.get_current_timezone_name())

    request = RequestFactory().get("/")
    request.user = _Person(zone)  # type: ignore[assignment]
    assert middleware.persons_zone(view)(request).content.decode() == shown
    assert timezone.get_current_timezone_name() == settings.TIME_ZONE


@pytest.mark.django_db
def test_alive_asks_nothing_of_the_database(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"alive\n")


@pytest.mark.parametrize("path", ["/healthz/", "//healthz", "/sign-in/", "/readyz"])
def test_alive_alone_is_told_under_any_host(db: None, client: Client, path: str) -> None:
    """Load balancers ask by IP address."""
    assert client.get("/healthz", headers={"Host": "192.0.2.7"}).content == b"alive\n"
    assert client.head("/healthz", headers={"Host": "bad host"}).status_code == 200
    assert client.post("/healthz", headers={"Host": "192.0.2.7"}).status_code == 400
    assert client.get(path, headers={"Host": "192.0.2.7"}).status_code == 400


class TestLoopbackOnly:
    @pytest.fixture
    def client(self, db: None, settings: Settings) -> Client:
        settings.LOOPBACK_ONLY = True
        return Client()

    def test_its_own_machine_is_answered(self, client: Client) -> None:
        assert client.get("/sign-in/", REMOTE_ADDR="127.0.0.1").status_code == 200
        assert client.get("/sign-in/", REMOTE_ADDR="::1").status_code == 200

    @pytest.mark.parametrize(
        "facts",
        [{"REMOTE_ADDR": "192.0.2.7"}, {"REMOTE_ADDR": ""}]
        + [{f"HTTP_{name}": "x"} for name in ("FORWARDED", "VIA", "X_FORWARDED_FOR", "X_FORWARDED_HOST",
                                              "X_FORWARDED_PROTO", "X_REAL_IP")],
    )  # fmt: skip
    def test_others_are_refused_with_a_sentence(self, client: Client, facts: dict[str, str]) -> None:
        answer = client.get("/sign-in/", **facts)  # type: ignore[arg-type]
        assert answer.status_code == 403
        assert answer.content.startswith(b"LOOPBACK_ONLY is on")
        assert answer["X-Frame-Options"] == "DENY"


@pytest.mark.django_db
def test_ready_when_the_database_answers_and_is_complete(client: Client) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.content) == (200, b"ready\n")


@pytest.mark.django_db
def test_not_ready_while_migrations_are_missing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health._Seen, "complete", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'customers'")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.content) == (503, b"migrations are missing\n")


def test_not_ready_when_the_database_does_not_answer(rf: RequestFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise DatabaseError("connection refused at a private address")

    monkeypatch.setattr(connections["default"], "cursor", gone)
    answer = health.readyz(rf.get("/readyz"))
    assert (answer.status_code, answer.content) == (503, b"database is not responding\n")


def test_not_ready_behind_a_pooler_that_drops_the_limits(rf: RequestFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(*_: object) -> None:
        raise ImproperlyConfigured("The database connection lost statement_timeout")

    monkeypatch.setattr(connections["default"], "cursor", dropped)
    answer = health.readyz(rf.get("/readyz"))
    assert (answer.status_code, answer.content) == (503, b"database connection has no time limits\n")


class ShowsItsHost(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("change", "host"), [({}, "portal.example.com"), ({"LOOPBACK_ONLY": "yes"}, "localhost"),
                         ({"LOOPBACK_ONLY": "0"}, "portal.example.com")],
)  # fmt: skip
def test_the_probe_sends_an_allowed_host(change: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), ShowsItsHost) as server:
        server.hosts = []  # type: ignore[attr-defined]
        threading.Thread(target=server.handle_request, daemon=True).start()
        given = {"WEB_BIND": f"127.0.0.1:{server.server_port}", "ALLOWED_HOSTS": "portal.example.com, b.example"}
        for name, value in (given | change).items():
            monkeypatch.setenv(name, value)
        assert health_probe.main("readyz") == 0
        assert server.hosts == [host]  # type: ignore[attr-defined]


@pytest.fixture
def database_down(db: None) -> Iterator[None]:
    """Every connection is refused, as while PostgreSQL restarts."""
    before = connections["default"]
    facts = dict.fromkeys(before.settings_dict, None) | {
        "ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": str(free_port()), "NAME": "x",
        "USER": "x", "PASSWORD": "", "OPTIONS": {}, "CONN_MAX_AGE": 0, "AUTOCOMMIT": True, "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": False, "TEST": {},
    }  # fmt: skip
    connections["default"] = DatabaseWrapper(facts, "default")
    yield
    connections["default"] = before


@pytest.fixture
def signed_in(db: None) -> Client:
    return sign_in(Client(raise_request_exception=False), UserFactory(role="admin"))


@pytest.mark.parametrize("path", ["/", "/customers/", "/no-such-page/"])
def test_503_while_the_database_is_down(
    signed_in: Client, database_down: None, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    page = signed_in.get(path)
    assert (page.status_code, page["Retry-After"]) == (503, "10")
    assert "The database isn't responding" in page.content.decode()
    assert page["Content-Security-Policy"].startswith("default-src 'none'")
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    fragment = signed_in.get(path, headers={"HX-Request": "true"})
    assert (fragment.status_code, fragment["Retry-After"]) == (503, "10")
    assert b"<html" not in fragment.content
    posted = Client(raise_request_exception=False).post("/sign-in/", {"login": "a@b.example", "password": "x"})
    assert posted.status_code == 503


def test_the_probes_while_the_database_is_down(database_down: None) -> None:
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.content) == (503, b"database is not responding\n")
    assert Client().get("/healthz").status_code == 200


def test_another_failure_stays_a_500(signed_in: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_plain", None)
    assert signed_in.get("/readyz").status_code == 500
