"""A statement in a real browser: from the list to a line, and what it was made from."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from billing.pricing.statements.drafts import rate_month
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, customer_with
from tests.support.browser import IN_A_BROWSER
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = IN_A_BROWSER


def test_a_line_unfolds_into_what_it_was_made_from(page: Page, live_server: Any) -> None:
    customer, one = customer_with(used=130_500)
    rate_month(NOVEMBER, now=NOW)
    cookies = sign_in(Client(), UserFactory(role="customer_success")).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    complaints: list[str] = []
    page.on("console", lambda each: complaints.append(each.text) if "Policy" in each.text else None)
    page.goto(f"{live_server.url}{reverse('billing:statements')}?month=2026-11")
    page.get_by_role("link", name=str(customer)).click()
    expect(page.get_by_text("€115.88").first).to_be_visible()
    expect(page.get_by_text("25.925")).to_be_hidden()
    page.get_by_text("Overage, ").click()
    expect(page.get_by_text("25.925")).to_be_visible()
    page.get_by_role("link", name="130,500 emails").click()
    expect(page).to_have_url(f"{live_server.url}{reverse('billing:figure', args=[one.public_id, '2026-11-01'])}")
    assert complaints == []
