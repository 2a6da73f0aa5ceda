"""One-time links: invitation, reset, forgotten password."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from celery import current_app
from django.conf import settings
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.test import Client, RequestFactory
from django.utils import timezone

from portal.access import links, staff, tasks
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal

NEW = "words that nobody would guess"
FORM = {"password": NEW, "again": NEW}


def _link_in(text: str) -> str:
    found = re.search(r"http://testserver(/invitation/[^\s\"<&]+/)", text)
    assert found, text
    return found.group(1)


def _invite(as_admin: Client, **more: str) -> str:
    facts = {"name": "Cy New", "email": "Cy@Postkeeper.example", "role": "finance", **more}
    response = as_admin.post("/staff/invite/", facts)
    assert response.status_code == 200, response.content.decode()
    assert response["Cache-Control"] == "no-store"
    return _link_in(response.content.decode())


def test_an_invited_person_sets_a_password_and_signs_in(as_admin: Client, admin: User) -> None:
    link = _invite(as_admin)
    assert _link_in(str(mail.outbox[0].body)) == link
    person = User.objects.get(email="cy@postkeeper.example")
    assert (person.role, person.has_joined) == ("finance", False)
    assert AuditEvent.objects.get(verb="staff.invited").object_id == person.public_id

    visitor = Client()
    assert b"Welcome, Cy New" in visitor.get(link).content
    assert visitor.post(link, {"password": "short", "again": "short"}).status_code == 422
    assert visitor.post(link, {"password": NEW, "again": NEW + "x"}).status_code == 422
    like_the_name = "cy@postkeeper.example"
    assert visitor.post(link, {"password": like_the_name, "again": like_the_name}).status_code == 422
    done = visitor.post(link, FORM)
    assert (done.status_code, done["Location"]) == (303, "/sign-in/")
    assert visitor.get(link).status_code == 410
    assert visitor.post(link, FORM).status_code == 410
    assert visitor.post("/sign-in/", {"login": person.email, "password": NEW}).status_code == 302


def test_a_link_ends(as_admin: Client, admin: User) -> None:
    link = _invite(as_admin)
    person = User.objects.get(email="cy@postkeeper.example")
    token = link.removeprefix("/invitation/").rstrip("/")
    assert Client().get(f"/invitation/{token[:-2]}xx/").status_code == 410
    assert Client().get("/invitation/nonsense/").status_code == 410
    staff.disable(Command(admin), person=person)
    assert Client().get(link).status_code == 410
    staff.enable(Command(admin), person=person)
    assert Client().get(link).status_code == 410  # disabling ended it for good


def test_a_link_is_too_old_after_its_time(as_admin: Client) -> None:
    token = _invite(as_admin).removeprefix("/invitation/").rstrip("/")
    now = timezone.now()
    assert links.person_of(token, now=now + timedelta(days=6, hours=23)) is not None
    assert links.person_of(token, now=now + timedelta(days=7, minutes=1)) is None


def test_a_newer_link_ends_the_older_one(as_admin: Client) -> None:
    older = _invite(as_admin)
    person = User.objects.get(email="cy@postkeeper.example")
    page = as_admin.post(f"/staff/{person.public_id}/reset-password/").content.decode()
    assert Client().get(older).status_code == 410
    assert Client().get(_link_in(page)).status_code == 200


def test_a_reset_makes_the_old_password_worthless(as_admin: Client, other: User) -> None:
    page = as_admin.post(f"/staff/{other.public_id}/reset-password/").content.decode()
    person = User.objects.get(pk=other.pk)
    assert not person.has_usable_password()
    assert Client().post(_link_in(page), FORM).status_code == 303
    assert User.objects.get(pk=other.pk).check_password(NEW)


def test_two_people_with_the_same_link_set_one_password(other: User) -> None:
    request = RequestFactory().get("/")
    link = links.make_link(person=other, lasts=links.FORGOT, now=timezone.now(), request=request)
    token = link.url.rstrip("/").rsplit("/", 1)[1]
    first, second = (links.person_of(token, now=timezone.now()) for _ in range(2))
    assert first is not None
    assert second is not None
    assert staff.save_password(person=first, password=NEW, request=request)
    assert not staff.save_password(person=second, password="another long password", request=request)
    assert User.objects.get(pk=other.pk).check_password(NEW)


@pytest.mark.django_db(transaction=True)
def test_forgotten_answers_the_same_for_everyone(other: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """And mails nobody but the person: an address of a stranger isn't written to."""
    messages: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **_: messages.append((name, list(args))))
    User.objects.create_user("gone@postkeeper.example", name="Gone", role="admin", is_active=False)
    answers, asked = set(), [other.email, "nobody@postkeeper.example", "gone@postkeeper.example"]
    for email in asked:
        response = Client().post("/password/reset/", {"email": email})
        answers.add((response.status_code, response["Location"], response.content))
    assert answers == {(303, "/password/reset/sent/", b"")}
    assert [name for name, _ in messages] == ["access.mail_reset_link"] * 3, "the same work for each"
    for _, args in messages:
        tasks.mail_reset_link(*args)
    assert [message.to for message in mail.outbox] == [[other.email]]
    assert f"{settings.PORTAL_URL}/invitation/" in str(mail.outbox[0].body)
    assert User.objects.get(pk=other.pk).has_usable_password()  # asking alone takes nothing away


def test_forgotten_is_limited_per_address_of_mail_and_per_client(other: User) -> None:
    statuses = [Client().post("/password/reset/", {"email": other.email}).status_code for _ in range(5)]
    assert statuses == [303, 303, 303, 429, 429]


def test_forgotten_is_limited_per_client_whoever_it_is_for(db: None) -> None:
    statuses = [Client().post("/password/reset/", {"email": f"{n}@company.example"}).status_code for n in range(12)]
    assert statuses == [303] * 10 + [429] * 2


def test_each_client_may_try_sixty_links_per_15_minutes(db: None) -> None:
    """Links can't be guessed, and an office opens many."""
    statuses = [Client().post("/invitation/nonsense/", FORM).status_code for _ in range(62)]
    assert statuses == [410] * 60 + [429] * 2


@pytest.mark.parametrize("changed", [{"email": "cy.new@postkeeper.example"}, {"password": "x"}, {"session_epoch": 7}])
def test_a_link_ends_when_email_password_or_sessions_change(as_admin: Client, changed: dict[str, object]) -> None:
    link = _invite(as_admin)
    User.objects.filter(email="cy@postkeeper.example").update(**changed)
    assert Client().get(link).status_code == 410


@pytest.mark.parametrize("changed", [{"is_active": False}, {"password": "x"}, {"session_epoch": 7}])
def test_no_password_is_set_if_access_changed_meanwhile(other: User, changed: dict[str, object]) -> None:
    User.objects.filter(pk=other.pk).update(**changed)
    with pytest.raises(Refusal, match="Your access has changed"):
        staff.change_own_password(person=other, password=NEW, request=RequestFactory().post("/"))
    assert not staff.save_password(person=other, password=NEW, request=RequestFactory().post("/"))
    assert not User.objects.get(pk=other.pk).check_password(NEW)


def test_nobody_who_is_disabled_gets_a_link(admin: User, other: User) -> None:
    staff.disable(Command(admin), person=other)
    with pytest.raises(Refusal, match="disabled"):
        staff.reset_password(Command(admin), person=other)


def test_a_mail_failure_is_reported_and_the_link_still_shown(as_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise ConnectionRefusedError

    monkeypatch.setattr(EmailBackend, "send_messages", broken)
    facts = {"name": "Cy New", "email": "cy@postkeeper.example", "role": "finance"}
    page = as_admin.post("/staff/invite/", facts).content.decode()
    assert "The email couldn't be sent" in page
    assert _link_in(page)
    assert Client().post("/password/reset/", {"email": "cy@postkeeper.example"}).status_code == 303
