"""The script and the sheet in a real browser, under the real content policy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from portal.access.models import User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _django_beside_playwright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright runs an event loop in the test's thread; the ORM is still used synchronously there."""
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@pytest.fixture
def sheet(page: Page, live_server: Any) -> Iterator[Page]:
    """The sheet of states, seen by an admin. What the policy refuses or the script throws fails the test."""
    person = User.objects.create_user("ada@example.com", "a long password 1", name="Ada Moreau", role="admin")
    client = Client()
    client.force_login(person)
    page.context.add_cookies(
        [{"name": name, "value": morsel.value, "url": live_server.url} for name, morsel in client.cookies.items()]
    )
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(live_server.url + reverse("help-states"))
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
    summary = sheet.get_by_label("More", exact=True)
    summary.click()
    expect(sheet.get_by_role("link", name="Delete account")).to_be_visible()
    sheet.keyboard.press("Escape")
    expect(sheet.get_by_role("link", name="Delete account")).to_be_hidden()
    expect(summary).to_be_focused()


def test_a_stepper_stops_at_its_limits(sheet: Page) -> None:
    more, field = sheet.get_by_label("One more"), sheet.get_by_label("Dedicated IPs")
    for _ in range(6):
        more.click()
    expect(field).to_have_value("9")
    expect(more).to_be_disabled()
    sheet.get_by_label("One less").click()
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


def test_a_failed_request_shows_its_id_and_stays_on_the_page(sheet: Page) -> None:
    path = reverse("help-states")
    sheet.route("**/*sort=name*", lambda route: route.fulfill(status=500, headers={"X-Request-Id": "abc123"}))
    sheet.get_by_role("link", name="Customer", exact=True).click()
    expect(sheet.locator("#toasts")).to_contain_text("The portal failed")
    expect(sheet.locator("#toasts")).to_contain_text("abc123")
    assert sheet.url.endswith(path)


def test_a_part_that_renews_itself_leaves_an_open_menu_alone(sheet: Page) -> None:
    """The answer comes while the menu is open; the part is renewed once it closes."""
    sheet.route("**/renewed/", lambda route: route.fulfill(body='<p id="part">Renewed</p>', content_type="text/html"))
    sheet.evaluate(
        """() => {
          const part = document.createElement("div");
          part.id = "part";
          part.innerHTML = '<details class="pk-drop"><summary>Deeds</summary><a href="#x">Rotate</a></details>';
          for (const [name, value] of Object.entries({"get": "/renewed/", "trigger": "renew", "swap": "outerHTML"}))
            part.setAttribute(`hx-${name}`, value);
          document.querySelector("main").append(part);
          htmx.process(part);
        }"""
    )
    sheet.get_by_text("Deeds").click()
    with sheet.expect_response("**/renewed/"):
        sheet.evaluate("htmx.trigger('#part', 'renew')")
    expect(sheet.get_by_role("link", name="Rotate")).to_be_visible()
    expect(sheet.get_by_text("Renewed")).to_be_hidden()
    sheet.keyboard.press("Escape")
    expect(sheet.get_by_text("Renewed")).to_be_visible()
