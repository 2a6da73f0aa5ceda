"""The audit log and account access in a real browser: by keyboard, without faults, and with filters that htmx swaps."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from portal import audit
from portal.access.models import User
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.factories import AccountFactory, UserFactory

pytestmark = IN_A_BROWSER


@pytest.fixture
def page(page: Page, live_server: Any) -> Iterator[Page]:
    person: User = UserFactory(role="auditor", name="Audrey", timezone="UTC")
    cleo, account = UserFactory(name="Cleo", role="customer_success"), AccountFactory()
    changes = {"before": {"phone": "+47 1"}, "after": {"phone": "+47 2"}}
    audit.record(actor=cleo, verb="customer.edited", obj=account.customer, **changes)
    audit.record(actor=cleo, verb="account.signed_in_as", obj=account, reason="Sender check on the phone.")
    audit.record(actor=None, verb="operation.failed", obj=None, reason="No answer.")
    seat = Seat(page, live_server, SimpleNamespace(person=person))
    page.goto(f"{seat.url}/audit/")
    yield page
    assert seat.complaints == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)])
@pytest.mark.sample(1)
def test_the_pages_have_no_fault_axe_can_find(page: Page, live_server: Any, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("/audit/", "/audit/access/", "/audit/?verb=nope"):
        page.goto(live_server.url + path)
        page.evaluate("document.querySelectorAll('.pk-log-event').forEach((each) => (each.open = true))")
        faults = Axe().run(page).response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_an_event_opens_by_keyboard_and_shows_its_differences(page: Page) -> None:
    row = page.locator(".pk-log-event", has_text="Customer edited")
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(row.get_by_role("rowheader", name="Phone")).to_be_visible()
    expect(row.get_by_role("cell", name="+47 1")).to_be_visible()
    page.keyboard.press("Enter")
    expect(row.get_by_role("rowheader", name="Phone")).to_be_hidden()


def test_a_filter_keeps_the_others_and_the_export_follows(page: Page) -> None:
    page.get_by_role("link", name="People", exact=True).click()
    export = page.get_by_role("link", name="Export CSV")
    expect(export).to_have_attribute("href", "/audit/export/?by=people")  # the list was replaced, its menus too
    expect(page.locator(".pk-log-event")).to_have_count(2)
    page.get_by_text("Period", exact=True).click()
    page.get_by_role("link", name="Last 7 days").click()
    expect(page.locator("#filter-period")).to_contain_text("Last 7 days")
    expect(export).to_have_attribute("href", "/audit/export/?by=people&period=7d")
    assert page.url.endswith("?by=people&period=7d")
