"""The second step of a sign-in: begun anew, between the steps, at the same moment, and how often it may be tried."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from portal.access import second_factor, sessions, staff
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.access.test_second_factor import (
    APP,
    CODE,
    code_of,
    codes_on,
    enrol,
    is_in,
    next_code,
    password_step,
    secret_on,
)
from tests.support.factories import PASSWORD
from tests.support.people import sign_in


def test_a_sign_in_can_be_begun_anew_at_the_second_step(admin: User) -> None:
    enrol(password_step(admin))
    client = password_step(admin)
    assert client.get(CODE).status_code == 200
    assert client.get("/sign-in/")["Location"] == CODE
    assert client.post(CODE, {"anew": "1", "code": ""})["Location"] == "/sign-in/"
    page = client.get("/sign-in/")
    assert (page.status_code, 'name="password"' in page.content.decode()) == (200, True)


def test_without_the_first_step_there_is_no_second(db: None) -> None:
    assert Client().get(CODE)["Location"] == "/sign-in/"
    assert Client().post(CODE, {"code": "123456"})["Location"] == "/sign-in/"


def test_a_person_disabled_between_the_steps_does_not_get_in(admin: User) -> None:
    secret = enrol(password_step(admin))
    client = password_step(admin)
    User.objects.filter(pk=admin.pk).update(is_active=False)
    client.post(CODE, {"code": next_code(secret)})
    assert not is_in(client)
    assert client.get("/me/").status_code == 302


# --- Between the steps, and at the same moment ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset_password", "end_sessions", "own_change"])
def test_a_sign_in_begun_before_access_changed_does_not_end(admin: User, other: User, how: str) -> None:
    secret = enrol(password_step(other))
    thief = password_step(other)
    other.refresh_from_db()
    if how == "own_change":
        staff.save_password(person=other, password="four other unrelated words", request=RequestFactory().post("/"))
    else:
        getattr(staff, how)(Command(admin), person=other)
    signed_in = AuditEvent.objects.filter(verb="staff.signed_in").count()
    page = thief.post(CODE, {"code": next_code(secret)}, follow=True)
    assert "Your access has changed. Sign in again." in page.content.decode()
    assert not is_in(thief)
    assert AuditEvent.objects.filter(verb="staff.signed_in").count() == signed_in


def test_a_second_step_without_a_factor_any_more_begins_anew(admin: User, other: User) -> None:
    """The page says that an admin can reset it: whoever waits there gets in with the password, and sets one up."""
    enrol(password_step(other))
    client = password_step(other)
    staff.reset_second_factor(Command(admin), person=other)
    assert client.get(CODE)["Location"] == "/sign-in/"
    assert client.get("/sign-in/").status_code == 200


@pytest.mark.parametrize("what", ["keep_app", "remove_own", "make_recovery_codes", "end_others"])
def test_a_session_that_was_ended_meanwhile_is_not_revived(admin: User, other: User, what: str) -> None:
    client = sign_in(Client(), other)
    secret = enrol(client)
    other.refresh_from_db()
    request = client.get("/me/security/").wsgi_request
    person = User.objects.get(pk=other.pk)  # as the request read it
    (app,) = Authenticator.objects.filter(type="totp")
    staff.end_sessions(Command(admin), person=other)
    acts = {
        "keep_app": lambda: second_factor.keep_app(request, user=person, code=code_of(new_secret(request))),
        "remove_own": lambda: second_factor.remove_own(request, user=person, authenticator_id=app.pk),
        "make_recovery_codes": lambda: second_factor.make_recovery_codes(request, user=person),
        "end_others": lambda: sessions.end_others(request, person=person),
    }
    with pytest.raises(Refusal, match="Your access has changed"):
        acts[what]()
    assert second_factor.check_code(person, next_code(secret)) is not None, "nothing was changed"


def new_secret(request: Any) -> str:
    return second_factor.new_secret(request)


def test_one_confirmation_is_good_for_one_change(admin: User) -> None:
    """And signing in is none, for those who have a second factor."""
    secret = enrol(sign_in(Client(), admin))
    admin.refresh_from_db()
    client = sign_in(Client(), admin)
    codes = "/me/security/recovery-codes/"
    assert client.post(codes).status_code == 422
    assert client.post(codes, {"confirm-code": next_code(secret)}).status_code == 200
    assert client.post(codes).status_code == 422


def test_a_changed_password_needs_the_second_factor(admin: User) -> None:
    enrol(sign_in(Client(), admin))
    admin.refresh_from_db()
    stolen, new = sign_in(Client(), admin, minutes_ago=11), "four other unrelated words"
    typed = {"current": PASSWORD, "password": new, "again": new, "confirm-password": PASSWORD}
    assert stolen.post("/me/password/", typed).status_code == 422
    assert User.objects.get(pk=admin.pk).check_password(PASSWORD)


def test_a_recovery_code_is_used_and_audited_or_neither(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    client = sign_in(Client(), admin)
    codes = codes_on(client.post(APP, {"code": code_of(secret_on(client.get(APP)))}))

    def broken(**_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr("portal.access.second_factor.audit.record", broken)
    with pytest.raises(OSError, match="no space"):
        second_factor.check_code(admin, codes[0])
    monkeypatch.undo()
    assert second_factor.recovery_codes_left(admin) == 10


# --- How often --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [False, True])
def test_twenty_wrong_codes_a_day_whatever_the_device(
    admin: User, device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = password_step(admin)
    enrol(owner)
    owner.post("/sign-out/")
    assert "device" in owner.cookies
    client = password_or_same(owner, admin) if device else password_step(admin)
    evaluated: list[str] = []
    monkeypatch.setattr(second_factor, "check_code", lambda _user, code, **_: evaluated.append(code))
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        for _quarter in range(8):
            for _ in range(6):
                page = password_or_same(client, admin).post(CODE, {"code": "123456"})
            clock.shift(15 * 60 + 1)
    assert len(evaluated) == 20
    assert "Too many attempts today." in page.content.decode()


def password_or_same(client: Client, person: User) -> Client:
    """The second step lasts 15 minutes; then the password is entered again."""
    if client.get(CODE).status_code != 200:
        client.post("/sign-in/", {"login": person.email, "password": PASSWORD})
    return client


def test_recovery_codes_have_a_budget_of_their_own(admin: User) -> None:
    client = sign_in(Client(), admin)
    codes = codes_on(client.post(APP, {"code": code_of(secret_on(client.get(APP)))}))
    thief = password_step(admin)
    for _ in range(8):
        thief.post(CODE, {"code": "123456"})
    assert password_step(admin).post(CODE, {"code": codes[0]})["Location"] == "/"


def test_a_missing_key_is_said_and_counts_no_attempt(admin: User, settings: Settings) -> None:
    """An operator removed it before the secrets were encrypted again."""
    secret = enrol(password_step(admin))
    client, kept = password_step(admin), settings.FIELD_KEYS
    settings.FIELD_KEYS = "t9:" + base64.b64encode(b"another-test-only-key-of-32-byte").decode()
    for _ in range(8):
        page = client.post(CODE, {"code": next_code(secret)})
    assert page.status_code == 422
    assert "a key of the installation is missing" in unescape(page.content.decode())
    settings.FIELD_KEYS = kept
    assert client.post(CODE, {"code": next_code(secret)})["Location"] == "/"
    settings.FIELD_KEYS = "t9:" + base64.b64encode(b"another-test-only-key-of-32-byte").decode()
    assert "10 unused codes left." in client.get("/me/security/").content.decode()
