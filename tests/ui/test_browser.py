"""The script and the sheet in a real browser, under the real content policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from billing.usage.periods import last_day
from portal.access.models import User
from tests.billing.reports.test_views import read
from tests.support.factories import AccountFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def sheet(page: Page, live_server: Any, settings: Any) -> Iterator[Page]:
    """The component sheet, seen by an admin. What the policy refuses or the script throws fails the test."""
    settings.DEMO = True
    person = User.objects.create_user("ada@example.com", "a long password 1", name="Ada Moreau", role="admin")
    client = Client()
    client.force_login(person)
    page.context.add_cookies(
        [{"name": name, "value": morsel.value, "url": live_server.url} for name, morsel in client.cookies.items()]
    )
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(live_server.url + reverse("help-components"))
    yield page
    assert complaints == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.sample(1)
def test_the_sheet_has_no_fault_axe_can_find(sheet: Page, width: int, scheme: Any) -> None:
    sheet.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    sheet.set_viewport_size({"width": width, "height": 900})
    faults = Axe().run(sheet).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == []
    assert sheet.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)])
@pytest.mark.long
def test_the_help_has_no_fault_axe_can_find(sheet: Page, live_server: Any, scheme: Any, width: int) -> None:
    sheet.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    sheet.set_viewport_size({"width": width, "height": 900})
    for address in (reverse("help"), reverse("help") + "?q=suspend", reverse("help-guide", args=["states"])):
        sheet.goto(live_server.url + address)
        faults = Axe().run(sheet).response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], address
        assert sheet.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


def test_the_help_is_searched_and_read_with_the_keyboard(sheet: Page, live_server: Any) -> None:
    sheet.goto(live_server.url + reverse("help"))
    sheet.get_by_label("Search help").fill("queued email")
    sheet.keyboard.press("Enter")
    sheet.get_by_role("link", name="What a suspension does").focus()
    sheet.keyboard.press("Enter")
    heading = sheet.get_by_role("heading", name="What a suspension does", exact=True)
    expect(heading).to_be_in_viewport()
    assert heading.evaluate("each => each.getBoundingClientRect().top") >= sheet.locator(".pk-topbar").evaluate(
        "each => each.getBoundingClientRect().bottom"
    )


def test_a_selected_theme_is_applied_before_the_first_paint(sheet: Page) -> None:
    button = sheet.locator("[data-theme-toggle]")
    button.click()
    button.click()
    expect(sheet.locator("html")).to_have_attribute("data-theme", "dark")
    sheet.reload()
    expect(sheet.locator("html")).to_have_attribute("data-theme", "dark")
    assert sheet.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 24)"
    button.click()
    expect(sheet.locator("html")).to_have_attribute("data-theme", "system")


def test_keys_reach_the_search_and_close_a_menu(sheet: Page) -> None:
    sheet.keyboard.press("/")
    expect(sheet.locator("[data-search]")).to_be_focused()
    expect(sheet.locator("[data-search]")).to_have_value("")
    summary = sheet.get_by_label("More actions", exact=True)
    summary.click()
    expect(sheet.get_by_role("link", name="Delete account")).to_be_visible()
    sheet.keyboard.press("Escape")
    expect(sheet.get_by_role("link", name="Delete account")).to_be_hidden()
    expect(summary).to_be_focused()


def test_a_stepper_stops_at_its_limits(sheet: Page) -> None:
    more, field = sheet.get_by_label("Increase"), sheet.get_by_label("Dedicated IPs")
    for _ in range(6):
        more.click()
    expect(field).to_have_value("9")
    expect(more).to_be_disabled()
    sheet.get_by_label("Decrease").click()
    expect(field).to_have_value("8")
    expect(more).to_be_enabled()


def test_on_a_narrow_screen_the_rail_is_a_drawer(sheet: Page) -> None:
    sheet.set_viewport_size({"width": 390, "height": 844})
    rail = sheet.get_by_role("navigation", name="Main")
    expect(rail).to_be_hidden()
    sheet.get_by_role("button", name="Menu").click()
    expect(rail.get_by_role("link", name="Customers")).to_be_visible()
    sheet.keyboard.press("Escape")
    expect(rail).to_be_hidden()


def test_a_scrolled_chart_starts_at_its_newest_month(sheet: Page, live_server: Any) -> None:
    account = AccountFactory()
    today = timezone.now().date()
    read(account, 700, at=timezone.now(), start=today.replace(day=1), end=last_day(today))
    sheet.set_viewport_size({"width": 390, "height": 844})
    sheet.goto(live_server.url + reverse("billing:usage"))
    chart = sheet.get_by_role("region", name="Emails by month", exact=True)
    newest = chart.locator("svg text").last
    assert chart.evaluate("box => box.scrollWidth > box.clientWidth")
    seen, text = chart.bounding_box(), newest.bounding_box()
    assert seen
    assert text
    assert text["x"] + text["width"] <= seen["x"] + seen["width"]


def test_a_failed_request_shows_its_id_and_stays_on_the_page(sheet: Page) -> None:
    path = reverse("help-components")
    sheet.route("**/*sort=name*", lambda route: route.fulfill(status=500, headers={"X-Request-Id": "abc123"}))
    sheet.get_by_role("link", name="Customer", exact=True).click()
    expect(sheet.locator("#toasts")).to_contain_text("Something went wrong")
    expect(sheet.locator("#toasts")).to_contain_text("abc123")
    assert sheet.url.endswith(path)
