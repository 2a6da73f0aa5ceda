"""A form that is open when its session ends, in a real browser: everything typed arrives, once."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from customers.models import Customer, Operation
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.customers.keys import account_with_keys, key_of
from tests.support.factories import PASSWORD, CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def person() -> User:
    return UserFactory(name="Nadia Berg")


@pytest.fixture
def customer() -> Customer:
    return CustomerFactory()


def give_session(page: Page, live_server: Any, person: User, **how: float) -> None:
    cookies = sign_in(Client(), person, **how).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])


def type_and_send(page: Page, live_server: Any, customer: Customer) -> None:
    """Edit the customer, and send the form when its session has ended."""
    page.goto(live_server.url + reverse("customers:edit", args=[customer.public_id]))
    page.get_by_label("Phone").fill("+49 30 1234567")
    page.get_by_label("Tags").fill("north, typed <b>")
    Session.objects.all().delete()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You've been signed out")
    expect(page.get_by_text("+49 30 1234567")).to_be_visible()


def sign_in_from_a_new_tab(page: Page, person: User) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Sign in").click()
    tab = opened.value
    tab.get_by_label("Email").fill(person.email)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Home")
    tab.close()


def is_saved_once(page: Page, customer: Customer) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text(customer.company_name)
    customer.refresh_from_db()
    assert (customer.phone, customer.tags) == ("+49301234567", ["north", "typed <b>"])
    assert AuditEvent.objects.filter(object_id=customer.public_id).count() == 1


def test_after_signing_in_from_a_new_tab_it_is_sent_at_once(
    page: Page, live_server: Any, person: User, customer: Customer
) -> None:
    give_session(page, live_server, person)
    type_and_send(page, live_server, customer)
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    sign_in_from_a_new_tab(page, person)
    page.evaluate("window.dispatchEvent(new Event('focus'))")  # this browser never takes it away
    expect(page.get_by_text(f"You're signed in as Nadia Berg ({person.email}).")).to_be_visible()
    page.get_by_role("button", name="Send again").click()
    is_saved_once(page, customer)


def test_a_page_that_did_not_notice_the_sign_in_says_so(
    page: Page, live_server: Any, person: User, customer: Customer
) -> None:
    give_session(page, live_server, person)
    type_and_send(page, live_server, customer)
    with page.expect_navigation():  # to the same words
        page.get_by_role("button", name="Send again").click()  # before signing in
    expect(page.get_by_role("heading", level=1)).to_have_text("You've been signed out")
    sign_in_from_a_new_tab(page, person)
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Send the form again")
    expect(page.get_by_text("You're signed in as Nadia Berg")).to_be_visible()
    page.get_by_role("button", name="Send again").click()
    is_saved_once(page, customer)


def test_a_confirmation_that_ran_out_is_made_up_for_in_place(page: Page, live_server: Any) -> None:
    other = UserFactory(role="finance")
    give_session(page, live_server, UserFactory(role="admin"), minutes_ago=11)
    page.goto(live_server.url + reverse("access:staff-member", args=[other.public_id]))
    page.get_by_role("radio", name="Auditor").check()
    page.get_by_role("button", name="Change role").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm it's you")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Role changed.")).to_be_visible()
    other.refresh_from_db()
    assert other.role == "auditor"


def test_a_confirmation_that_ran_out_is_made_up_for_in_a_dialog(page: Page, live_server: Any, person: User) -> None:
    account = account_with_keys()
    key_of(account)
    give_session(page, live_server, person)
    page.goto(live_server.url + reverse("customers:account-keys", args=[account.public_id]))
    page.locator(f'[hx-get$="{reverse("customers:key-delete", args=[account.public_id, "key-1"])}"]').dispatch_event(
        "click"
    )
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("Typed reason")
    page.context.clear_cookies(name="sessionid")
    give_session(page, live_server, person, minutes_ago=11)
    dialog.get_by_role("button", name="Delete key").click()
    expect(dialog.get_by_role("heading", level=2).first).to_have_text("Confirm it's you")
    expect(dialog.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert [each.reason for each in Operation.objects.all()] == ["Typed reason"]
