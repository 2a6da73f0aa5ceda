"""Passkeys and the authenticator app in Chromium, with its virtual authenticator; and the stories around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import call_command
from django.test import Client
from playwright.sync_api import Page, expect

from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.access.test_second_factor import code_of, next_code
from tests.support.factories import PASSWORD, UserFactory
from tests.support.people import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(new_context: Any, live_server: Any) -> Page:
    page: Page = new_context(base_url=live_server.url).new_page()
    return page


@pytest.fixture
def person(transactional_db: None) -> User:
    return UserFactory(role="finance", name="Finn Finance", email="finn@postkeeper.example")


@pytest.fixture
def authenticator(page: Page) -> Iterator[str]:
    """A device that keeps passkeys and recognizes its owner."""
    chrome = page.context.new_cdp_session(page)
    chrome.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    yield chrome.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
    chrome.detach()


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text(text)


def enter(page: Page, person: User) -> None:
    page.goto("/sign-in/")
    page.get_by_label("Email").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def leave(page: Page) -> None:
    page.goto("/sign-out/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    heading(page, "Sign in")


def add_passkey(page: Page, name: str) -> None:
    page.goto("/me/security/passkey/")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add passkey").click()


def test_finance_is_led_to_a_passkey_and_signs_in_with_it(page: Page, person: User, authenticator: str) -> None:
    enter(page, person)
    heading(page, "Set up a second factor")
    page.goto("/customers/")
    heading(page, "Set up a second factor")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_role("button", name="Add passkey").click()
    heading(page, "Recovery codes")
    page.get_by_role("link", name="I've saved them").click()
    expect(page.get_by_text("Work laptop")).to_be_visible()
    page.goto("/customers/")
    heading(page, "Customers")
    leave(page)
    page.get_by_role("button", name="Use a passkey").click()  # no email, no password
    heading(page, "Home")
    leave(page)
    enter(page, person)  # with the password, the passkey is the second step
    heading(page, "Confirm it's you")
    page.get_by_role("button", name="Use a passkey").click()
    heading(page, "Home")
    assert AuditEvent.objects.filter(verb="staff.signed_in", actor=person).count() == 3


def test_the_first_admin_sets_everything_up(page: Page, live_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """From the link that the command line prints to the first customer, with an app."""
    call_command("create_admin", email="ada@company.example", name="Ada Admin")
    link = capsys.readouterr().out.split()[-1]
    page.goto(live_server.url + urlsplit(link).path)
    page.get_by_label("New password", exact=True).fill("four unrelated words here")
    page.get_by_label("Confirm new password").fill("four unrelated words here")
    page.get_by_role("button", name="Set password").click()
    heading(page, "Sign in")
    page.get_by_label("Email").fill("ada@company.example")
    page.get_by_label("Password").fill("four unrelated words here")
    page.get_by_role("button", name="Sign in").click()
    heading(page, "Set up a second factor")
    page.get_by_role("link", name="Add an authenticator app").click()
    secret = page.get_by_role("main").locator("code").inner_text()
    page.get_by_label("Code from the app").fill(code_of(secret))
    page.get_by_role("button", name="Add app").click()
    heading(page, "Recovery codes")
    page.get_by_role("link", name="I've saved them").click()
    heading(page, "Sign-in and security")
    page.get_by_role("link", name="Team members").click()
    page.get_by_role("link", name="Invite team member").click()
    heading(page, "Invite")


def test_a_passkey_confirms_a_form_that_was_sent(page: Page, person: User, authenticator: str) -> None:
    """What was typed is kept, and carried out once the passkey was used."""
    User.objects.filter(pk=person.pk).update(role="admin")
    other = UserFactory(role="auditor", name="Au Ditor")
    enter(page, person)
    heading(page, "Set up a second factor")
    add_passkey(page, "Work laptop")
    heading(page, "Recovery codes")
    _let_confirmation_run_out(page)
    page.goto(f"/staff/{other.public_id}/")
    page.get_by_role("button", name="Disable Au Ditor").click()
    heading(page, "Confirm it's you")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("Au Ditor was disabled")).to_be_visible()
    assert not User.objects.get(pk=other.pk).is_active


def _let_confirmation_run_out(page: Page) -> None:
    from portal.access.session_store import SessionStore  # noqa: PLC0415

    (cookie,) = (each for each in page.context.cookies() if each["name"] == "sessionid")
    session = SessionStore(cookie["value"])
    session["account_authentication_methods"] = [
        each | {"at": each["at"] - 3600} for each in session["account_authentication_methods"]
    ]
    session.save()


def test_a_device_without_the_passkey_says_so(page: Page, person: User, authenticator: str) -> None:
    page.goto("/sign-in/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("The passkey wasn't used")).to_be_visible()
    expect(page.get_by_role("button", name="Use a passkey")).to_be_enabled()
    heading(page, "Sign in")


def test_a_removed_passkey_is_refused(page: Page, person: User, authenticator: str) -> None:
    """The device still has it; the portal doesn't."""
    enter(page, person)
    heading(page, "Set up a second factor")
    add_passkey(page, "Lost laptop")
    heading(page, "Recovery codes")
    leave(page)
    Authenticator.objects.all().delete()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("This passkey wasn't accepted.")).to_be_visible()
    heading(page, "Sign in")


def test_an_authenticator_app_from_the_picture_to_the_sign_in(page: Page, person: User) -> None:
    enter(page, person)
    heading(page, "Set up a second factor")
    page.goto("/me/security/app/")
    expect(page.get_by_role("img", name="QR code for the authenticator app.")).to_be_visible()
    secret = page.get_by_role("main").locator("code").inner_text()
    page.get_by_label("Code from the app").fill("000000")
    page.get_by_role("button", name="Add app").click()
    expect(page.get_by_text("Incorrect code.").first).to_be_visible()
    page.get_by_label("Code from the app").fill(code_of(secret))
    page.get_by_role("button", name="Add app").click()
    heading(page, "Recovery codes")
    leave(page)
    enter(page, person)
    page.get_by_label("Code").fill(next_code(secret))
    page.get_by_role("button", name="Continue").click()
    heading(page, "Home")


def test_a_lost_phone_and_the_way_back(page: Page, person: User) -> None:
    """With a recovery code; and without one, by an admin."""
    enter(page, person)
    heading(page, "Set up a second factor")
    page.goto("/me/security/app/")
    secret = page.get_by_role("main").locator("code").inner_text()
    page.get_by_label("Code from the app").fill(code_of(secret))
    page.get_by_role("button", name="Add app").click()
    code = page.locator(".pk-codes code").first.inner_text()
    leave(page)
    enter(page, person)
    expect(page.get_by_text("Ask an admin to reset your second factor.")).to_be_visible()
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Continue").click()
    heading(page, "Home")
    leave(page)
    admin = UserFactory(role="admin")
    assert sign_in(Client(), admin).post(f"/staff/{person.public_id}/reset-second-factor/").status_code == 303
    assert not Authenticator.objects.exists()
    enter(page, person)
    heading(page, "Set up a second factor")
