"""How long a session lasts, what ends it, and what a request without one is told."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import DjangoCaptureOnCommitCallbacks

from portal.access import staff
from portal.access.models import User
from portal.access.session_store import SessionStore
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.retention.rules import find_rule
from tests.support.factories import PASSWORD
from tests.support.people import sign_in

HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": "http://testserver/staff/?q=bo"}


def _is_in(client: Client) -> bool:
    return client.get("/me/").status_code == 200


@pytest.mark.parametrize(
    ("how", "verb"),
    [
        ("disable", "staff.disabled"), ("change_role", "staff.role_changed"), ("end_sessions", "staff.sessions_ended"),
        ("reset_password", "staff.reset_link_made"),
    ],
)  # fmt: skip
def test_what_an_admin_does_ends_all_sessions_at_once(admin: User, other: User, how: str, verb: str) -> None:
    clients = [sign_in(Client(), other), sign_in(Client(), other)]
    assert all(map(_is_in, clients))
    facts = {"role": "auditor"} if how == "change_role" else {}
    getattr(staff, how)(Command(admin), person=other, **facts)
    assert not any(map(_is_in, clients))
    event = AuditEvent.objects.get(verb=verb)
    assert (event.actor, event.object_id) == (admin, other.public_id)


def test_changing_the_own_password_keeps_only_this_session(
    other: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    here, elsewhere = sign_in(Client(), other), sign_in(Client(), other)
    key = here.session.session_key
    new = "a quite different long password"
    wrong = here.post("/me/password/", {"current": "no", "password": new, "again": new})
    assert wrong.status_code == 422
    with django_capture_on_commit_callbacks(execute=True):
        done = here.post("/me/password/", {"current": PASSWORD, "password": new, "again": new})
    assert done.status_code == 303
    assert "Your password was changed." in str(mail.outbox[-1].body)
    assert mail.outbox[-1].to == [other.email]
    assert _is_in(here)
    assert here.session.session_key != key
    assert not _is_in(elsewhere)
    assert User.objects.get(pk=other.pk).check_password(new)


def test_a_session_ends_a_fixed_time_after_sign_in(admin: User, settings: object) -> None:
    client = sign_in(Client(), admin)
    assert _is_in(client)
    session = client.session
    session["signed_in_at"] = int(time.time()) - 25 * 3600
    session.save()
    assert not _is_in(client)


def test_a_page_pushes_the_idle_limit_on_and_a_poll_does_not(admin: User) -> None:
    client = sign_in(Client(), admin)
    client.get("/staff/", **HTMX)
    assert "seen_at" not in client.session
    assert User.objects.get(pk=admin.pk).last_seen_at is None
    client.get("/staff/")
    assert "seen_at" in client.session
    seen = User.objects.get(pk=admin.pk).last_seen_at
    assert seen is not None
    client.get("/staff/")
    assert User.objects.get(pk=admin.pk).last_seen_at == seen


def test_without_a_session_a_page_goes_to_sign_in_and_back(db: None) -> None:
    response = Client().get("/staff/?q=bo")
    assert (response.status_code, response["Location"]) == (302, "/sign-in/?next=/staff/%3Fq%3Dbo")


def test_a_fragment_never_becomes_the_sign_in_page(db: None) -> None:
    read = Client().get("/staff/", **HTMX)
    assert (read.status_code, read.content) == (401, b"")
    assert read["HX-Redirect"] == "/sign-in/?next=%2Fstaff%2F%3Fq%3Dbo"
    sent = Client().post("/me/", {"name": "typed"}, **HTMX)
    assert sent.status_code == 401
    assert "HX-Redirect" not in sent  # the page stays, and with it what was typed


def test_a_fragment_of_another_site_does_not_lead_away(db: None) -> None:
    headers = {**HTMX, "HTTP_HX_CURRENT_URL": "http://evil.example/x"}
    assert Client().get("/staff/", **headers)["HX-Redirect"] == "/sign-in/?next=%2F"


def test_a_stale_password_is_asked_for_again(admin: User) -> None:
    client = sign_in(Client(), admin, minutes_ago=11)
    asked = client.get("/staff/invite/")
    assert (asked.status_code, asked["Location"]) == (302, "/reauthenticate/?next=%2Fstaff%2Finvite%2F")
    key = client.session.session_key
    assert client.post("/reauthenticate/", {"password": "wrong", "next": "/staff/invite/"}).status_code == 422
    back = client.post("/reauthenticate/", {"password": PASSWORD, "next": "/staff/invite/"})
    assert back["Location"] == "/staff/invite/"
    assert client.session.session_key != key
    assert client.get("/staff/invite/").status_code == 200


@pytest.mark.parametrize("what", ["disable", "enable"])
def test_disabling_and_enabling_need_a_fresh_password(admin: User, other: User, what: str) -> None:
    active = what == "disable"
    User.objects.filter(pk=other.pk).update(is_active=active)
    address = f"/staff/{other.public_id}/{what}/"
    client = sign_in(Client(), admin, minutes_ago=11)
    assert client.post(address).status_code == 422
    assert User.objects.get(pk=other.pk).is_active == active
    assert client.post(address, {"confirm-password": PASSWORD}).status_code == 303
    assert User.objects.get(pk=other.pk).is_active != active
    assert AuditEvent.objects.get(verb=f"staff.{what}d").object_id == other.public_id


def test_nobody_is_asked_twice_within_the_time(admin: User) -> None:
    assert sign_in(Client(), admin, minutes_ago=9).get("/staff/invite/").status_code == 200


@pytest.mark.django_db
def test_expired_sessions_are_deleted() -> None:
    for days in (-1, 1):
        session = SessionStore()
        session.set_expiry(timezone.now() + timedelta(days=days))
        session.save()
    assert find_rule("sessions").remove_batch(timezone.now()) == 1  # type: ignore[union-attr]  # it is registered
    assert Session.objects.get().expire_date > timezone.now()
