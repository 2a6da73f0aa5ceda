"""Scheduling a suspend, holding the account and seeing it skipped, in a real browser."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from customers.models import Account, Schedule
from customers.schedules import due as due_schedules
from customers.schedules import holds
from portal.commands import Command
from tests.customers.conftest import Desk
from tests.support.browser import IN_A_BROWSER, Seat

pytestmark = IN_A_BROWSER


def more(page: Page, what: str) -> Any:
    """Open one of the acts under the account's dots; its dialog."""
    page.wait_for_load_state()  # until the script is there, a link leads to a page of its own
    page.get_by_label("More actions").click()
    page.get_by_role("link", name=what, exact=True).click()
    return page.get_by_role("dialog")


@pytest.mark.long
def test_a_suspend_is_scheduled_held_and_skipped(seat: Seat, desk: Desk) -> None:
    account = desk.created()
    page = seat.open("account", account)
    dialog = more(page, "Schedule change")
    expect(dialog.get_by_label("New package")).to_be_hidden()
    dialog.get_by_text("Change package").click()
    expect(dialog.get_by_label("New package")).to_be_visible()
    dialog.get_by_text("Suspend (skipped").click()
    dialog.get_by_label("Reason").fill("Not paid")
    dialog.get_by_role("button", name="Schedule change").click()
    expect(dialog.get_by_text("Enter a date.").first).to_be_visible()
    dialog.get_by_role("textbox", name="Date").fill(str(timezone.now().date() + timedelta(days=200)))
    dialog.get_by_role("button", name="Schedule change").click()
    expect(page.get_by_role("heading", name="Scheduled changes")).to_be_visible()
    dialog = more(page, "Do not suspend")
    dialog.get_by_label("Reason").fill("Pays on Friday")
    dialog.get_by_role("button", name="Mark “Do not suspend”").click()
    expect(page.locator("#account-state")).to_contain_text("Do not suspend")
    schedule = Schedule.objects.get()
    due_schedules.run_schedule(schedule.pk, now=schedule.due_at)
    page.get_by_role("region", name="Scheduled changes").get_by_role("link", name="Show all").click()
    expect(page.get_by_text("No scheduled changes")).to_be_visible()
    page.get_by_role("link", name="Past").click()
    expect(page.get_by_text("Marked “Do not suspend” by Customer success: Pays on Friday")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
@pytest.mark.long
def test_axe_finds_no_fault(seat: Seat, desk: Desk, scheme: Any, width: int) -> None:
    account = desk.created()
    _fill(desk, account)
    page = seat.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("", "?view=past"):
        page.goto(seat.url + reverse("customers:coming") + path)
        _look(page, f"coming{path[-4:]}-{scheme}-{width}")
    for name in ("schedule-new", "hold-place", "account-suspend"):
        _look(seat.open(name, account), f"{name}-{scheme}-{width}")


def _fill(desk: Desk, account: Account) -> None:
    now = timezone.now()
    common = {"account": account, "requested_by": desk.person, "base_version": 1, "created_at": now, "kind": "suspend"}
    for n, days in enumerate((1, 1, 3, 40)):
        Schedule.objects.create(
            due_at=now + timedelta(days=days), reason="Not paid, case 3318", client_token=f"coming {n}", **common
        )
    Schedule.objects.create(
        due_at=now, state="skipped", outcome="Marked “Do not suspend” by Success lead: Pays on Friday",
        reason="Not paid", ended_at=now, client_token="past", **common,
    )  # fmt: skip
    holds.place_hold(Command(desk.person, now, reason="Pays on Friday"), account=account, until=now + timedelta(days=2))


def _look(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
    faults = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], name
