"""Signing in: who may, what it looks like when they may not, and how often one may try."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from portal.access.backends import StaffBackend
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.factories import PASSWORD

URL = "/sign-in/"


def _try(client: Client, email: str, password: str, **headers: str) -> HttpResponse:
    return client.post(URL, {"login": email, "password": password}, **headers)  # type: ignore[return-value, arg-type]


def test_the_e_mail_is_folded_and_the_session_id_is_new(admin: User) -> None:
    client = Client()
    client.get(URL)
    session = client.session
    session["planted"] = "by someone else"
    session.save()
    client.cookies["sessionid"] = planted = session.cookie
    response = _try(client, " ADA@Postkeeper.Example", PASSWORD)
    assert (response.status_code, response["Location"]) == (302, "/")
    assert client.session.cookie != planted
    thief = Client()
    thief.cookies["sessionid"] = planted
    assert thief.get("/me/").status_code == 302
    assert AuditEvent.objects.get(verb="staff.signed_in").actor == admin


def test_every_refusal_reads_the_same(admin: User, other: User) -> None:
    User.objects.filter(pk=other.pk).update(is_active=False)
    invited = User.objects.create_user("new@postkeeper.example", name="New", role="admin")
    wrong = [
        _try(Client(), admin.email, "wrong password"),
        _try(Client(), "nobody@postkeeper.example", "wrong password"),
        _try(Client(), other.email, PASSWORD),
        _try(Client(), invited.email, "!"),
    ]
    assert {response.status_code for response in wrong} == {422}
    errors = {str(response.context["form"].non_field_errors()) for response in wrong}
    assert len(errors) == 1
    assert AuditEvent.objects.filter(verb="staff.sign_in_failed").count() == 4


def test_the_typed_e_mail_of_a_failed_try_is_not_kept(admin: User) -> None:
    _try(Client(), "hunter2@secret.example", "x")
    event = AuditEvent.objects.get()
    assert "hunter2" not in str(vars(event))


@pytest.mark.parametrize("known", [True, False])
def test_unknown_people_cost_a_hash_too(admin: User, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *a, **k: hashed.append(1) or encode(*a, **k))
    _try(Client(), admin.email if known else "nobody@postkeeper.example", "wrong")
    assert len(hashed) == 1


def _evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    original = StaffBackend.authenticate

    def counting(self: StaffBackend, request: object, email: str = "", **rest: str) -> User | None:
        seen.append(email)
        return original(self, request, email=email, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(StaffBackend, "authenticate", counting)
    return seen


def test_ten_tries_per_account_whatever_address_is_claimed(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = _evaluated(monkeypatch)
    for n in range(40):
        response = _try(Client(), admin.email, "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}")
    assert len(evaluated) == 10
    assert response.status_code == 422
    assert "Too many attempts" in response.content.decode()
    assert _try(Client(), admin.email, PASSWORD).status_code == 422  # even the right one waits


@pytest.mark.long
def test_thirty_tries_per_address_over_many_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = _evaluated(monkeypatch)
    for n in range(45):
        _try(Client(), f"p{n}@postkeeper.example", "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{n}")
    assert len(evaluated) == 30


def test_sixty_requests_a_minute_per_address_whatever_they_hold(db: None) -> None:
    statuses = [_try(Client(), "", "").status_code for _ in range(62)]
    assert statuses == [422] * 60 + [429] * 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_tries_at_the_same_moment_are_counted_too(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = _evaluated(monkeypatch)

    def once(_n: int) -> int:
        try:
            return _try(Client(), admin.email, "wrong").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(once, range(24)))
    assert len(evaluated) <= 10
    assert set(statuses) <= {422, 429}


def test_next_leads_only_to_ourselves(admin: User) -> None:
    for target in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "//[",
        "http://[::1",
        "1,5",
        "home",
    ):
        response = Client().post(URL, {"login": admin.email, "password": PASSWORD, "next": target})
        assert response["Location"] == "/"
    response = Client().post(URL, {"login": admin.email, "password": PASSWORD, "next": "/me/"})
    assert response["Location"] == "/me/"


def test_signing_out_needs_a_post_and_clears_the_cache(as_admin: Client) -> None:
    assert as_admin.get("/sign-out/").status_code == 200
    assert as_admin.get("/me/").status_code == 200
    response = as_admin.post("/sign-out/")
    assert (response.status_code, response["Location"]) == (302, URL)
    assert response["Clear-Site-Data"] == '"cache"'
    assert as_admin.get("/me/").status_code == 302


def test_nobody_can_sign_up(admin: User) -> None:
    assert b"Invitation only" in Client().get("/sign-up/").content
    assert Client().post("/sign-up/", {"email": "x@y.example"}).status_code == 405


def test_every_page_has_one_heading_and_no_inline_script(admin: User) -> None:
    for name in ("account_login", "account_signup", "account_reset_password", "account_reset_password_done"):
        page = Client().get(reverse(name)).content.decode()
        assert page.count("<h1") == 1, name
        assert "<script>" not in page, name
