"""What every answer carries, and what whoever watches the process is told."""

from __future__ import annotations

import uuid

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal import health, middleware


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
def test_the_request_id_is_ours_and_new_each_time(client: Client) -> None:
    first = client.get("/healthz", headers={"X-Request-Id": "made-up-by-the-client"})["X-Request-Id"]
    second = client.get("/healthz")["X-Request-Id"]
    assert uuid.UUID(first)
    assert first != second


def test_a_view_may_say_how_long_its_answer_keeps() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers={"Cache-Control": "private, max-age=60", "Vary": "Cookie"})

    answer = middleware.security_headers(view)(RequestFactory().get("/"))
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
    assert (answer.status_code, answer.content) == (503, b"database does not answer\n")
