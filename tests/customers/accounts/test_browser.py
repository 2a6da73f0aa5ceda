"""The editor, the dialog, the decision and signing in as a customer, in a real browser under the real policy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from customers.models import Account, Operation
from portal.audit.models import AuditEvent
from tests.customers.conftest import BIGGER, Desk
from tests.support.people import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _django_beside_playwright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright runs an event loop in the test's thread; the ORM is still used synchronously there."""
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")


class Seat:
    """One person's browser. What the policy refuses or the script throws fails the test."""

    def __init__(self, page: Page, live_server: Any, desk: Desk) -> None:
        self.page, self.url = page, live_server.url
        self.complaints: list[str] = []
        page.on("console", lambda each: self.complaints.append(each.text) if "Policy" in each.text else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        cookies = sign_in(Client(), desk.person).cookies
        page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])

    def open(self, name: str, row: Account | Operation) -> Page:
        self.page.goto(self.url + reverse(f"customers:{name}", args=[row.public_id]))
        return self.page


@pytest.fixture
def seat(live_server: Any, page: Page, desk: Desk) -> Iterator[Seat]:
    seat = Seat(page, live_server, desk)
    yield seat
    assert seat.complaints == []


def test_the_editor_says_what_changes_while_one_chooses(seat: Seat, desk: Desk) -> None:
    page = seat.open("account-offerings", desk.created())
    replace = page.get_by_role("button", name="Replace the list")
    expect(replace).to_be_disabled()
    page.get_by_text("Free 100").click()
    expect(page.get_by_text("The account loses")).to_be_visible()
    expect(page.get_by_text("Your choice").locator("visible=true")).to_have_count(1)
    page.get_by_label("One Dedicated IP more").click()
    expect(page.get_by_text("Quantity 1 → 2")).to_be_visible()
    page.get_by_text("Pro 300K").click()
    expect(page.get_by_text("The account loses")).to_be_hidden()
    page.get_by_label("I checked what changes").check()
    replace.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind")
    rows = Operation.objects.get(kind="offerings").payload["offerings"]
    assert [(row["name"], row["quantity"]) for row in rows] == [(BIGGER.name, 1), ("postkeeper.x.ip.v2", 2)]


def test_suspending_from_the_account_in_a_dialog(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    page.get_by_role("link", name="Suspend", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Suspend Northwind?")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    dialog.get_by_role("button", name="Suspend account").click()
    expect(dialog.get_by_text("Say why. It is kept in the audit log.").first).to_be_visible()
    dialog.get_by_label("Abuse report").check()
    dialog.get_by_label("Reason").fill("Case 3318")
    dialog.get_by_role("button", name="Suspend account").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("Queued").first).to_be_visible()
    assert Operation.objects.get(kind="suspend").reason == "Abuse report: Case 3318"


def test_signing_in_as_a_customer_leads_there_in_a_new_tab(seat: Seat, desk: Desk) -> None:
    """The form's redirect passes the content policy, and the request passes the CSRF check: only a browser knows."""
    page = seat.open("account-sign-in-as", desk.created())
    page.get_by_label("Reason").fill("Sender check, case 3318")
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open at SendGrid").click()
    tab = opened.value
    expect(tab.get_by_role("heading")).to_contain_text("signed in as ops@northwind.example")
    assert tab.evaluate("document.referrer") == ""
    assert tab.evaluate("window.opener") is None
    assert AuditEvent.objects.filter(verb="account.signed_in_as").count() == 1


def test_the_button_of_a_decision_repeats_the_choice(seat: Seat, desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504")
    operation = desk.perform(desk.ask_create())
    page = seat.open("operation", operation)
    expect(page.get_by_role("button", name="Choose what happened")).to_be_disabled()
    page.get_by_text("It was not created: stop here").click()
    expect(page.get_by_role("button", name="Stop here")).to_be_visible()
    expect(page.get_by_label("Account id at the provider")).to_be_hidden()
    page.get_by_text("It was created: link it").click()
    expect(page.get_by_role("button", name="Stop here")).to_be_hidden()
    page.get_by_label("Account id at the provider").fill(desk.sandbox.admin.accounts()[0]["id"])
    page.get_by_label("How do you know").fill("Same e-mail in the console.")
    page.get_by_role("button", name="Link this account").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible()


def test_a_running_operation_follows_by_itself_and_then_rests(seat: Seat, desk: Desk) -> None:
    operation = desk.ask("suspend", desk.created())
    page = seat.open("operation", operation)
    expect(page.get_by_text("It waits for its turn.")).to_be_visible()
    desk.perform(operation)
    expect(page.locator("h1 + .pk-state")).to_have_text("Succeeded", timeout=10_000)
    expect(page.locator("main [data-poll]")).to_have_count(0)


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.long
def test_axe_finds_no_fault(seat: Seat, desk: Desk, width: int, scheme: Any) -> None:
    account = desk.created()
    desk.sandbox.admin.arm("create-then-504")
    unknown = desk.perform(desk.ask_create("late@northwind.example"))
    seat.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    seat.page.set_viewport_size({"width": width, "height": 900})
    pages = [(f"account-{name}", account) for name in ("offerings", "suspend", "delete", "sign-in-as", "username")]
    for name, row in [*pages, ("operation", unknown)]:
        page = seat.open(name, row)
        _look(page, name)
    seat.page.goto(seat.url + reverse("customers:operations"))
    _look(seat.page, "operations")


def _look(page: Page, name: str) -> None:
    faults = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
