"""Second factors: who needs one, what a session without one opens, codes that work once, and the way back."""

from __future__ import annotations

import re
import time
from html import unescape
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.conf import settings as configured
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from pytest_django.fixtures import DjangoCaptureOnCommitCallbacks, Settings

from portal.access import recovery_codes, second_factor, staff
from portal.access.models import CustomRole, User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices.models import Notice
from portal.refusals import Refusal
from tests.house.test_permissions import _address, _patterns
from tests.support.factories import PASSWORD, UserFactory
from tests.support.people import sign_in

HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": "http://testserver/customers/"}
APP = "/me/security/app/"
CODE = "/sign-in/second-factor/"


def code_of(secret: str, *, later: int = 0) -> str:
    """The code of this half minute, or of a later one: those of the one before and of the next are accepted too."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + later))


def next_code(secret: str) -> str:
    """A code that is accepted after the one of the set-up, also when the half minute ends between the two or before it
    arrives. One of the half minute before would not be."""
    return code_of(secret, later=1)


def secret_on(page: Any) -> str:
    found = re.search(r'data-copy="([A-Z2-7]{32})"', page.content.decode())
    assert found, page.content.decode()
    return found[1]


def enrol(client: Client, *, later: int = 0) -> str:
    """Add an authenticator app as the person would; returns its secret. The `next_code` is unused."""
    secret = secret_on(client.get(APP))
    done = client.post(APP, {"code": code_of(secret, later=later)})
    assert done.status_code == 200, done.content.decode()
    assert "Recovery codes" in done.content.decode()
    return secret


def codes_on(page: Any) -> list[str]:
    return re.findall(r"<code>(\d{10})</code>", unescape(page.content.decode()))


def password_step(user: User) -> Client:
    client = Client()
    done = client.post("/sign-in/", {"login": user.email, "password": PASSWORD})
    assert done.status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get("/customers/").status_code == 200


# --- Required by role -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "opens"), [("admin", False), ("finance", False), ("customer_success", True), ("auditor", True)]
)
def test_roles_of_the_setting_need_one(role: str, opens: bool) -> None:
    client = password_step(UserFactory(role=role))
    assert is_in(client) is opens
    assert client.get("/me/security/").status_code == 200


@pytest.mark.parametrize(("permissions", "opens"), [(["view", "edit_customer"], True), (["view", "sync_usage"], False)])
def test_a_custom_role_with_more_than_free_ones_needs_one(permissions: list[str], opens: bool, admin: User) -> None:
    """Finance's permissions under another name are no way around it."""
    role = CustomRole.objects.create(name="Desk", permissions=permissions, created_by=admin, created_at=timezone.now())
    person = UserFactory(role="custom", custom_role=role)
    assert is_in(password_step(person)) is opens


def test_a_session_without_one_opens_only_its_set_up(admin: User) -> None:
    """Every route, page and fragment: those of everyone, and the few of enrolment."""
    client = sign_in(Client(), admin, factor=False)
    opened = set()
    for name, pattern in _patterns(get_resolver()):
        page = client.get(_address(name, pattern))
        part = client.get(_address(name, pattern), **HTMX)
        if page.status_code == 302 and page["Location"] == "/me/security/":
            assert (part.status_code, part.content, part["HX-Redirect"]) == (403, b"", "/me/security/"), name
        elif page.status_code != 405:
            opened.add(name)
    anyone = {name for name, rule in second_factor_free().items() if "GET" in rule}
    only_sent = {"recovery-codes", "sso-confirm"}
    assert opened - anyone == second_factor.ENROLMENT_ROUTES - only_sent


def second_factor_free() -> dict[str, Any]:
    from portal.access.permissions import Permission, rules  # noqa: PLC0415  the table as it is

    return {name: rule for name, rule in rules().routes.items() if Permission.ANYONE in rule.values()}


def test_a_page_of_the_set_up_does_not_open_itself_again(admin: User) -> None:
    """Whatever it asks for is refused; leading to itself, it would open without end."""
    client = sign_in(Client(), admin, factor=False)
    there = HTMX | {"HTTP_HX_CURRENT_URL": "http://testserver/me/security/app/"}
    answer = client.get("/rail/operations/", **there)
    assert (answer.status_code, "HX-Redirect" in answer) == (403, False)


def test_what_was_typed_without_one_comes_back(admin: User) -> None:
    client = sign_in(Client(), admin, factor=False)
    page = client.post("/me/", {"name": "Ada Typed", "timezone": "UTC"})
    assert page.status_code == 403
    assert 'name="name" value="Ada Typed"' in page.content.decode()
    assert "Set up a second factor" in page.content.decode()
    admin.refresh_from_db()
    assert admin.name != "Ada Typed"
    part = client.post("/me/", {"name": "Ada Typed"}, **HTMX)
    assert (part.status_code, "HX-Redirect" in part) == (403, False)


def test_the_demo_requires_none(admin: User, settings: Settings) -> None:
    settings.DEMO = True
    client = password_step(admin)
    assert is_in(client)
    assert "Sign-in needs no second factor" in client.get("/customers/").content.decode()


def test_the_first_admin_enrols_and_signs_in_with_a_code(admin: User) -> None:
    client = password_step(admin)
    assert client.get("/customers/")["Location"] == "/me/security/"
    secret = enrol(client)
    assert is_in(client), "no second sign-in is needed after setting it up"
    again = password_step(admin)
    assert not is_in(again)
    assert again.post(CODE, {"code": "000000"}).status_code == 422
    assert again.post(CODE, {"code": next_code(secret)})["Location"] == "/"
    assert is_in(again)
    verbs = list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True))
    assert verbs == [
        "staff.signed_in", "staff.second_factor_added", "staff.recovery_codes_made", "staff.code_failed",
        "staff.signed_in",
    ]  # fmt: skip


def test_who_has_one_is_asked_whatever_the_role(db: None) -> None:
    auditor = UserFactory(role="auditor")
    enrol(password_step(auditor))
    assert not is_in(password_step(auditor))


# --- Codes work once --------------------------------------------------------------------------------------------------


def test_a_code_works_once(admin: User) -> None:
    secret = enrol(password_step(admin))
    code = next_code(secret)
    assert password_step(admin).post(CODE, {"code": code}).status_code == 302
    assert password_step(admin).post(CODE, {"code": code}).status_code == 422


def test_codes_are_accepted_when_their_half_minute_ends(admin: User, time_machine: Any) -> None:
    """Also each one of the half minute after it; so tests may type them at any moment."""
    time_machine.move_to(timezone.now(), tick=False)
    client = password_step(admin)
    secret = secret_on(client.get(APP))
    first = code_of(secret)
    time_machine.shift(30)
    assert "Recovery codes" in client.post(APP, {"code": first}).content.decode()
    second = next_code(secret)
    time_machine.shift(30)
    assert password_step(admin).post(CODE, {"code": second}).status_code == 302


def test_a_code_before_the_last_one_is_refused(admin: User, time_machine: Any) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    secret = enrol(password_step(admin), later=-1)
    assert password_step(admin).post(CODE, {"code": next_code(secret)}).status_code == 302
    assert password_step(admin).post(CODE, {"code": code_of(secret)}).status_code == 422


def test_the_code_of_the_set_up_signs_nobody_in(admin: User, time_machine: Any) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    secret = enrol(password_step(admin))
    assert password_step(admin).post(CODE, {"code": code_of(secret)}).status_code == 422


def test_a_recovery_code_works_once_and_is_told(
    admin: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    client = password_step(admin)
    secret = secret_on(client.get(APP))
    codes = codes_on(client.post(APP, {"code": code_of(secret)}))
    assert len(set(codes)) == 10
    with django_capture_on_commit_callbacks(execute=True):
        assert password_step(admin).post(CODE, {"code": codes[3]}).status_code == 302
    assert password_step(admin).post(CODE, {"code": codes[3]}).status_code == 422
    assert "Codes left: 9" in str(mail.outbox[-1].body)
    assert AuditEvent.objects.get(verb="staff.recovery_code_used").after == {"left": 9}


def test_five_wrong_codes_then_none_is_evaluated(
    admin: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    secret = enrol(password_step(admin))
    evaluated: list[str] = []
    check = second_factor.check_code
    monkeypatch.setattr(
        second_factor, "check_code", lambda user, code, **more: evaluated.append(code) or check(user, code, **more)
    )
    for n in range(12):  # from a new address each time
        thief = Client(REMOTE_ADDR=f"198.51.100.{n}")
        thief.post("/sign-in/", {"login": admin.email, "password": PASSWORD})
        thief.post(CODE, {"code": "123456"})
    assert len(evaluated) == 5
    assert not is_in(thief)
    assert thief.post(CODE, {"code": next_code(secret)}).status_code == 422, "even the right one waits"
    assert "Several wrong codes were entered after your password." in str(mail.outbox[-1].body)
    assert len(mail.outbox) == 1, "once"


def test_secrets_are_encrypted_wherever_they_are(admin: User) -> None:
    client = password_step(admin)
    secret = secret_on(client.get(APP))
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    codes = codes_on(client.post(APP, {"code": code_of(secret)}))
    kept = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in kept
    assert not any(code in kept for code in codes)
    assert second_factor.sealed_by_key() == {"t1": 1}


# --- Setting up and removing ------------------------------------------------------------------------------------------


def test_a_stolen_session_sets_up_and_removes_nothing(admin: User) -> None:
    """Later than ten minutes after the sign-in, and without password or code."""
    enrol(sign_in(Client(), admin))
    admin.refresh_from_db()
    stolen = sign_in(Client(), admin, minutes_ago=11)
    (app,) = Authenticator.objects.filter(type="totp")
    for path in (APP, "/me/security/passkey/"):
        assert stolen.get(path)["Location"].startswith("/reauthenticate/")
    for path in (APP, "/me/security/passkey/", f"/me/security/{app.pk}/remove/", "/me/security/recovery-codes/"):
        page = stolen.post(path, {"code": "123456"})
        assert (page.status_code, "confirm-code" in page.content.decode()) == (422, True), path
        page = stolen.post(path, {"confirm-password": PASSWORD})
        assert page.status_code == 422, "the password alone is not enough where there is a second factor"
    assert Authenticator.objects.count() == 2


def test_a_change_ends_the_other_sessions_and_is_mailed(
    admin: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    elsewhere, here = sign_in(Client(), admin), sign_in(Client(), admin)
    key = here.session.session_key
    with django_capture_on_commit_callbacks(execute=True):
        enrol(here)
    assert (is_in(here), is_in(elsewhere)) == (True, False)
    assert here.session.session_key != key
    assert [str(message.body).split("\n")[2] for message in mail.outbox] == [
        "A second factor was added: authenticator app.",
        "New recovery codes were created. Earlier ones no longer work.",
    ]


def test_the_last_one_stays_where_the_role_requires_it(admin: User) -> None:
    client = sign_in(Client(), admin)
    secret = enrol(client)
    (app,) = Authenticator.objects.filter(type="totp")
    page = client.post(f"/me/security/{app.pk}/remove/", {"confirm-code": next_code(secret)})
    assert page.status_code == 409
    assert "Add another one, then remove this one." in unescape(page.content.decode())
    assert Authenticator.objects.filter(type="totp").exists()


def test_without_a_factor_no_recovery_code_is_left(db: None) -> None:
    auditor = UserFactory(role="auditor")
    client = sign_in(Client(), auditor)
    secret = enrol(client)
    (app,) = Authenticator.objects.filter(type="totp")
    assert client.post(f"/me/security/{app.pk}/remove/", {"confirm-code": next_code(secret)}).status_code == 303
    assert not Authenticator.objects.exists()
    assert is_in(password_step(auditor))


def test_nobody_removes_another_persons(admin: User, other: User) -> None:
    enrol(sign_in(Client(), other))
    (app,) = Authenticator.objects.filter(type="totp")
    sign_in(Client(), admin).post(f"/me/security/{app.pk}/remove/")
    assert Authenticator.objects.filter(pk=app.pk).exists()


# --- Confirming -------------------------------------------------------------------------------------------------------


def test_who_has_one_confirms_with_it(admin: User) -> None:
    secret = enrol(sign_in(Client(), admin))
    admin.refresh_from_db()
    client = sign_in(Client(), admin, minutes_ago=11)
    key = client.session.session_key
    wrong = client.post("/reauthenticate/", {"password": PASSWORD, "next": "/staff/invite/"})
    assert wrong.status_code == 422
    done = client.post("/reauthenticate/", {"code": next_code(secret), "next": "/staff/invite/"})
    assert done["Location"] == "/staff/invite/"
    assert client.session.session_key != key
    assert client.get("/staff/invite/").status_code == 200


# --- The way back -----------------------------------------------------------------------------------------------------


def test_an_admin_resets_a_lost_one(admin: User, other: User) -> None:
    enrol(sign_in(Client(), other))
    theirs = sign_in(Client(), User.objects.get(pk=other.pk))
    page = sign_in(Client(), admin).post(f"/staff/{other.public_id}/reset-second-factor/")
    assert page.status_code == 303
    assert not Authenticator.objects.exists()
    assert not is_in(theirs)
    assert Notice.objects.get().kind == "event.staff.second_factor_reset"
    back = password_step(other)
    assert back.get("/customers/")["Location"] == "/me/security/"
    enrol(back)
    assert is_in(back)


def test_nobody_resets_their_own(admin: User) -> None:
    with pytest.raises(Refusal, match="your own account"):
        staff.reset_second_factor(Command(admin), person=admin)


def test_the_operator_resets_the_last_admins(admin: User, capsys: pytest.CaptureFixture[str]) -> None:
    enrol(sign_in(Client(), admin))
    call_command("reset_second_factor", email=admin.email)
    assert "has no second factor any more" in capsys.readouterr().out
    assert not Authenticator.objects.exists()
    event = AuditEvent.objects.get(verb="staff.second_factor_reset")
    assert (event.actor, event.before["factors"]) == (None, "authenticator app, recovery codes")


def test_a_reset_password_is_no_way_around_it(admin: User) -> None:

    from portal.access import links  # noqa: PLC0415

    enrol(sign_in(Client(), admin))
    admin.refresh_from_db()
    link = links.make_link(person=admin, lasts=links.FORGOT, now=timezone.now(), request=None)
    client, new = Client(), "four unrelated words here"
    set_it = client.post(link.url.removeprefix(configured.PORTAL_URL), {"password": new, "again": new})
    assert set_it["Location"] == "/sign-in/"
    assert client.post("/sign-in/", {"login": admin.email, "password": new})["Location"] == CODE
    assert not is_in(client)


# --- Recovery codes at rest -------------------------------------------------------------------------------------------


def test_recovery_codes_are_stored_as_password_hashes(admin: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    codes = recovery_codes.make_codes(admin)
    stored = Authenticator.objects.get(user=admin).data
    assert list(stored) == ["hashes"]
    assert all(each.startswith("argon2$argon2id$") for each in stored["hashes"])
    assert len({each.split("$")[4] for each in stored["hashes"]}) == 10, "a salt of its own for each"
    assert all(len(code) == 10 and code.isdigit() for code in codes)
    assert second_factor.check_code(admin, codes[7])
    assert not second_factor.check_code(admin, codes[7])


def test_codes_of_a_seed_are_hashed_when_one_is_tried(admin: User) -> None:
    allauths = RecoveryCodes.activate(admin)
    codes = allauths.generate_codes()
    assert allauths.validate_code(codes[0])
    assert second_factor.recovery_codes_left(admin) == 9
    assert not second_factor.check_code(admin, codes[0])
    assert list(Authenticator.objects.get(user=admin).data) == ["hashes"]
    assert second_factor.check_code(admin, codes[1])
    assert second_factor.recovery_codes_left(admin) == 8


def test_a_code_of_an_app_is_compared_with_no_hash(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery_codes.make_codes(admin)
    monkeypatch.setattr(recovery_codes, "check_password", lambda *_: pytest.fail("half a second for nothing"))
    assert not second_factor.check_code(admin, "123456")
