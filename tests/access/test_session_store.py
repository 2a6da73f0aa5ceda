"""The database has a hash of a session's ID, which opens nothing."""

from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client

from portal.access.models import User
from portal.access.session_store import SessionStore, stored_key
from tests.support.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed_in() -> Client:
    person: User = UserFactory(role="auditor")
    client = Client()
    assert client.post("/sign-in/", {"login": person.email, "password": PASSWORD}).status_code == 302
    return client


def test_the_tables_do_not_have_the_id(signed_in: Client) -> None:
    cookie = signed_in.cookies["sessionid"].value
    assert signed_in.get("/me/").status_code == 200
    assert [row.session_key for row in Session.objects.all()] == [stored_key(cookie)]
    assert [row.session_key for row in UserSession.objects.all()] == [stored_key(cookie)]
    assert cookie not in str(list(Session.objects.values()) + list(UserSession.objects.values()))


def test_what_the_tables_have_opens_nothing(signed_in: Client) -> None:
    thief = Client()
    thief.cookies["sessionid"] = Session.objects.get().session_key
    assert thief.get("/me/").status_code == 302
    assert signed_in.get("/me/").status_code == 200


def test_a_new_id_replaces_the_row(signed_in: Client) -> None:
    before = signed_in.cookies["sessionid"].value
    session = SessionStore(before)
    session.cycle_key()
    assert session.cookie != before
    assert [row.session_key for row in Session.objects.all()] == [stored_key(session.cookie)]


def test_signing_out_empties_the_cookie_and_the_table(signed_in: Client) -> None:
    signed_in.post("/sign-out/")
    assert not Session.objects.exists()
    assert signed_in.cookies["sessionid"].value == ""


@pytest.mark.parametrize("cookie", ["", "x", "\x00", "%00", "é" * 40, "a" * 5_000])
def test_a_strange_cookie_is_no_session(cookie: str) -> None:
    assert SessionStore(cookie).load() == {}
