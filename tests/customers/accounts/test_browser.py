"""The editor, the dialog, the decision and signing in as a customer, in a real browser under the real policy."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from customers.models import Operation
from portal.audit.models import AuditEvent
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support.browser import IN_A_BROWSER, Seat

pytestmark = IN_A_BROWSER


def test_the_editor_says_what_changes_while_one_chooses(seat: Seat, desk: Desk) -> None:
    page = seat.open("account-offerings", desk.created())
    replace = page.get_by_role("button", name="Replace offerings")
    expect(replace).to_be_disabled()
    page.get_by_text("Free 100").click()
    expect(page.get_by_text("The account will lose")).to_be_visible()
    expect(page.get_by_text("Selected").locator("visible=true")).to_have_count(1)
    page.get_by_label("Add one Dedicated IP").click()
    expect(page.get_by_text("Quantity 1 → 2")).to_be_visible()
    page.get_by_text("Pro 300K").click()
    expect(page.get_by_text("The account will lose")).to_be_hidden()
    page.get_by_label("I've confirmed these changes with the customer.").check()
    replace.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind")
    rows = Operation.objects.get(kind="offerings").payload["offerings"]
    assert [(row["name"], row["quantity"]) for row in rows] == [(BIGGER.name, 1), ("postkeeper.x.ip.v2", 2)]


def test_nothing_typed_is_lost_while_an_answer_is_on_its_way(seat: Seat, desk: Desk) -> None:
    page = seat.page
    page.goto(seat.url + reverse("customers:create") + f"?connection={desk.connection.public_id}")
    seat.slow_down()
    page.get_by_label("Company").fill("Larkfield Outdoor")
    page.get_by_label("Email", exact=True).fill("mail@larkfield.example")
    page.get_by_role("radio", name="Pro 100K").check()
    quantity, more = page.get_by_label("Quantity of Dedicated IP"), page.get_by_label("Add one Dedicated IP")
    quantity.fill("2")
    more.click()
    more.click()
    expect(page.locator("#offering-sum")).to_contain_text("5 dedicated IPs")
    expect(quantity).to_have_value("4")
    page.get_by_role("button", name="Add customer and create account").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Larkfield Outdoor")
    rows = Operation.objects.get(kind="create").payload["offerings"]
    assert [(row["name"], row["quantity"]) for row in rows] == [(PACKAGE.name, 1), (ADDON.name, 4)]


def test_a_reason_survives_and_a_confirmation_does_not(seat: Seat, desk: Desk) -> None:
    account = desk.created()
    page = seat.open("account-offerings", account)
    seat.slow_down()
    page.get_by_text("Pro 300K").click()
    page.get_by_label("I've confirmed these changes").check()
    page.get_by_text("Free 100").click()
    page.get_by_label("Reason").fill("Contract of May")
    expect(page.get_by_text("The account will lose")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value("Contract of May")
    expect(page.get_by_label("I've confirmed these changes")).not_to_be_checked()


def test_a_review_being_written_stays_when_the_operation_ends(seat: Seat, desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504")
    operation = desk.perform(desk.ask_create())
    page = seat.open("operation", operation)
    page.get_by_text("The account exists: link it").click()
    page.get_by_label("Evidence").fill("Same email in the console.")
    Operation.objects.filter(pk=operation.pk).update(state="failed", finished_at=timezone.now())
    page.evaluate("document.body.dispatchEvent(new Event('operation-ended'))")
    expect(page.get_by_text("The operation changed while this page was open: Failed")).to_be_visible()
    expect(page.get_by_label("Evidence")).to_have_value("Same email in the console.")


def test_selecting_a_candidate_selects_to_link_it(seat: Seat, desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504")
    operation = desk.perform(desk.ask_create())
    rows = [{"provider_id": each, "email": "same", "offerings": "same", "verdict": "match"} for each in ("sg1", "sg2")]
    Operation.objects.filter(pk=operation.pk).update(result={"candidates": rows})
    page = seat.open("operation", operation)
    page.get_by_role("radio", name="sg2").check()
    expect(page.get_by_role("button", name="Link account")).to_be_visible()
    expect(page.get_by_role("radio", name="The account exists: link it")).to_be_checked()


def test_suspending_from_the_account_in_a_dialog(seat: Seat, desk: Desk) -> None:
    page = seat.open("account", desk.created())
    page.get_by_role("link", name="Suspend", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Suspend Northwind?")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    dialog.get_by_role("button", name="Suspend account").click()
    expect(dialog.get_by_text("Enter a reason or select a category.").first).to_be_visible()
    dialog.get_by_label("Abuse report").check()
    dialog.get_by_label("Reason").fill("Case 3318")
    dialog.get_by_role("button", name="Suspend account").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("Queued").first).to_be_visible()
    assert Operation.objects.get(kind="suspend").reason == "Abuse report: Case 3318"


def test_signing_in_as_a_customer_leads_there_in_a_new_tab(seat: Seat, desk: Desk) -> None:
    """The form's redirect passes the content policy, and the request passes the CSRF check: only a browser knows."""
    page = seat.open("account-sign-in-as", desk.created())
    page.get_by_label("Reason").fill("Sender verification, case 3318")
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open SendGrid").click()
    tab = opened.value
    expect(tab.get_by_role("heading")).to_contain_text("signed in as ops@northwind.example")
    assert tab.evaluate("document.referrer") == ""
    assert tab.evaluate("window.opener") is None
    assert AuditEvent.objects.filter(verb="account.signed_in_as").count() == 1


def test_the_button_of_a_decision_repeats_the_choice(seat: Seat, desk: Desk) -> None:
    desk.sandbox.admin.arm("create-then-504")
    operation = desk.perform(desk.ask_create())
    page = seat.open("operation", operation)
    expect(page.get_by_role("button", name="Select what happened")).to_be_disabled()
    page.get_by_text("The account does not exist: cancel").click()
    expect(page.get_by_role("button", name="Cancel operation")).to_be_visible()
    expect(page.get_by_label("Provider account ID")).to_be_hidden()
    page.get_by_text("The account exists: link it").click()
    expect(page.get_by_role("button", name="Cancel operation")).to_be_hidden()
    page.get_by_label("Provider account ID").fill(desk.sandbox.admin.accounts()[0]["id"])
    page.get_by_label("Evidence").fill("Same email in the console.")
    page.get_by_role("button", name="Link account").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible()


def test_a_running_operation_follows_by_itself_and_then_rests(seat: Seat, desk: Desk) -> None:
    operation = desk.ask("suspend", desk.created())
    page = seat.open("operation", operation)
    expect(page.get_by_text("Waiting in the queue.")).to_be_visible()
    desk.perform(operation)
    expect(page.locator("h1 + .pk-state")).to_have_text("Succeeded")
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
