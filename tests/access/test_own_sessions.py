"""The list of a person's sessions, and ending them."""

from __future__ import annotations

from html import unescape

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from portal.access import sessions, staff
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.retention.rules import find_rule
from tests.support.factories import PASSWORD, UserFactory
from tests.support.people import sign_in

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36"


@pytest.fixture
def person(db: None) -> User:
    return UserFactory(role="customer_success", email="cleo@postkeeper.example")


def entered(person: User, agent: str = FIREFOX, address: str = "192.0.2.1") -> Client:
    client = Client(HTTP_USER_AGENT=agent, REMOTE_ADDR=address)
    assert client.post("/sign-in/", {"login": person.email, "password": PASSWORD}).status_code == 302
    return client


def page_of(client: Client) -> str:
    return unescape(client.get("/me/security/").content.decode())


def is_in(client: Client) -> bool:
    return client.get("/me/").status_code == 200


def test_the_list_names_browser_address_and_this_one(person: User) -> None:
    here = entered(person)
    entered(person, CHROME, "198.51.100.7")
    page = page_of(here)
    assert "Firefox on Linux" in page
    assert "Chrome on Windows" in page
    assert "198.51.100.7" in page
    assert page.count("This session") == 1


def test_a_new_id_keeps_the_row(person: User) -> None:
    here = entered(person)
    here.post("/reauthenticate/", {"password": PASSWORD, "next": "/me/"})
    (row,) = sessions.sessions_of(person)
    assert UserSession.objects.get().session_key == here.session.session_key
    assert row.browser == "Firefox on Linux"
    new = "a quite different long password"
    here.post("/me/password/", {"current": PASSWORD, "password": new, "again": new})
    assert UserSession.objects.get().session_key == here.session.session_key


def test_one_other_session_is_ended(person: User) -> None:
    here, there = entered(person), entered(person, CHROME)
    (row,) = (each for each in sessions.sessions_of(person) if "Chrome" in each.browser)
    assert here.post(f"/me/security/sessions/{row.id}/end/").status_code == 303
    assert (is_in(here), is_in(there)) == (True, False)
    assert AuditEvent.objects.get(verb="staff.session_ended").before["browser"] == "Chrome on Windows"


def test_all_others_are_ended(person: User) -> None:
    here, there, third = entered(person), entered(person, CHROME), entered(person)
    assert here.post("/me/security/sessions/end/").status_code == 303
    assert [is_in(each) for each in (here, there, third)] == [True, False, False]
    assert AuditEvent.objects.get(verb="staff.other_sessions_ended").after == {"sessions": 2}


def test_nobody_ends_a_session_of_others(person: User, other: User) -> None:
    there = entered(person)
    (row,) = sessions.sessions_of(person)
    sign_in(Client(), other).post(f"/me/security/sessions/{row.id}/end/")
    assert is_in(there)


def test_an_admin_sees_and_ends_one(admin: User, person: User) -> None:
    there = entered(person, CHROME)
    client = sign_in(Client(), admin)
    (row,) = sessions.sessions_of(person)
    assert "Chrome on Windows" in client.get(f"/staff/{person.public_id}/").content.decode()
    assert client.post(f"/staff/{person.public_id}/end-session/{row.id}/").status_code == 303
    assert not is_in(there)


def test_what_ended_otherwise_leaves_the_list(admin: User, person: User) -> None:
    entered(person)
    staff.end_sessions(Command(admin), person=person)
    person.refresh_from_db()
    assert sessions.sessions_of(person) == []


def test_rows_of_sessions_that_are_gone_are_deleted(person: User) -> None:
    entered(person)
    Session.objects.all().delete()
    assert find_rule("sessions").remove_batch(timezone.now()) == 0  # type: ignore[union-attr]  # it is registered
    assert not UserSession.objects.exists()


def test_without_an_address_a_session_is_listed_too(person: User) -> None:
    here = entered(person, address="")
    assert "Unknown address" in page_of(here)


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (FIREFOX, "Firefox on Linux"), (CHROME, "Chrome on Windows"), (f"{CHROME} Edg/156.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.5", "Unknown browser"), ("", "Unknown browser"),
    ],
)  # fmt: skip
def test_browsers_by_name(agent: str, shown: str) -> None:
    assert sessions.browser_of(agent) == shown


def test_a_session_that_is_not_listed_is_ended_too(person: User) -> None:
    """One from before there was a list, or with an ID that two requests replaced."""
    here, there = entered(person), entered(person, CHROME)
    UserSession.objects.filter(session_key=there.session.session_key).delete()
    here.post("/me/security/sessions/end/")
    assert (is_in(here), is_in(there)) == (True, False)


def test_a_session_that_is_used_is_listed_again(person: User) -> None:
    here = entered(person)
    UserSession.objects.all().delete()
    session = here.session
    session.pop("seen_at", None)
    session.save()
    here.get("/me/")
    assert "Firefox on Linux" in page_of(here)


def test_a_replaced_secret_key_ends_and_hides_nothing(admin: User, person: User, settings: Settings) -> None:
    here, there = entered(person), entered(person, CHROME)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-for-this-test-0123456789-abcdefghijklmnop"
    member = sign_in(Client(), admin).get(f"/staff/{person.public_id}/").content.decode()
    assert "Firefox on Linux" in member
    assert "Chrome on Windows" in member
    assert (is_in(here), is_in(there)) == (True, True)


def test_the_present_session_is_ended_by_signing_out(person: User) -> None:
    here = entered(person)
    (row,) = sessions.sessions_of(person)
    page = here.post(f"/me/security/sessions/{row.id}/end/")
    assert page.status_code == 409
    assert "Sign out to end it." in page.content.decode()
    assert is_in(here)
