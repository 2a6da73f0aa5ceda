"""An unknown filter in a real browser: a part that htmx asks for says it in its place."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.billing.reports.test_views import an_account, read
from tests.support.browser import IN_A_BROWSER
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = IN_A_BROWSER
SENTENCE = "Connection: unknown value “nope”. Clear it to see results."


def test_a_search_with_an_unknown_filter_says_it_in_the_list(page: Page, live_server: Any) -> None:
    account = an_account()
    read(account, 41_000)
    cookies = sign_in(Client(), UserFactory(role="finance")).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    address = live_server.url + reverse("billing:usage")
    page.goto(f"{address}?month=2026-11&connection={account.connection.public_id}")
    expect(page.get_by_text("41,000").first).to_be_visible()
    # As where the page is older than the connections it offers.
    page.locator("input[name=connection]").evaluate("each => { each.value = 'nope' }")
    page.get_by_role("searchbox", name="Search by customer").fill("a")
    page.keyboard.press("Enter")
    notice = page.locator("#list .pk-refused")
    expect(notice).to_contain_text(SENTENCE)
    expect(notice).to_be_in_viewport()
    assert page.get_by_text("41,000").count() == 0
    assert page.get_by_role("button", name="Export CSV").count() == 0
    assert "connection=nope" in page.url
    assert page.locator(".pk-toast").count() == 0, "nothing failed"
    notice.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(f"{address}?q=a&month=2026-11")
    expect(page.get_by_role("button", name="Export CSV")).to_be_visible()
