"""The database has a hash of a session's ID, which opens nothing."""

from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django.fixtures import Settings

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


@pytest.fixture
def of_before(signed_in: Client) -> Client:
    """A session of a release that stored the ID itself."""
    cookie = signed_in.cookies["sessionid"].value
    Session.objects.update(session_key=cookie)
    UserSession.objects.update(session_key=cookie)
    return signed_in


def test_a_session_of_before_continues_under_its_id(of_before: Client) -> None:
    """Processes of the release before, which serve meanwhile, still find it."""
    cookie = of_before.cookies["sessionid"].value
    assert of_before.get("/me/security/").status_code == 200
    assert of_before.cookies["sessionid"].value == cookie
    assert [row.session_key for row in Session.objects.all()] == [cookie]
    assert [row.session_key for row in UserSession.objects.all()] == [cookie]


def test_a_session_of_before_ends_like_any_other(of_before: Client, settings: Settings) -> None:
    cookie = of_before.cookies["sessionid"].value
    assert of_before.get("/me/").status_code == 200
    settings.SESSION_ABSOLUTE_SECONDS = -1
    assert of_before.get("/me/").status_code == 302
    assert not Session.objects.filter(session_key=cookie).exists()


def test_signing_out_of_a_session_of_before_ends_it(of_before: Client) -> None:
    cookie = of_before.cookies["sessionid"].value
    of_before.post("/sign-out/")
    assert not Session.objects.exists()
    of_before.cookies["sessionid"] = cookie
    assert of_before.get("/me/").status_code == 302


def test_a_session_of_before_gets_a_hash_with_its_next_id(of_before: Client) -> None:
    session = SessionStore(of_before.cookies["sessionid"].value)
    session.cycle_key()
    assert [row.session_key for row in Session.objects.all()] == [stored_key(session.cookie)]
    of_before.cookies["sessionid"] = session.cookie
    assert of_before.get("/me/").status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", "\x00", "%00", "é" * 40, "a" * 5_000])
def test_a_strange_cookie_is_no_session(cookie: str) -> None:
    assert SessionStore(cookie).load() == {}
