"""A closed statement on paper: A4 pages, its number and customer, a table head on each page, and nothing to click."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from billing.models import Statement
from billing.pricing.statements.drafts import rate_month
from tests.billing.closing.closed import close
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, account, customer_with, figure
from tests.support.browser import IN_A_BROWSER
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = IN_A_BROWSER
A4 = (595, 842)
ACCOUNTS = 60


def test_a_statement_is_printed_on_a4_pages(page: Page, live_server: Any) -> None:
    customer, _one = customer_with(used=130_500)
    for _ in range(ACCOUNTS):
        figure(account(customer), 130_500)
    rate_month(NOVEMBER, now=NOW)
    close()
    statement = Statement.objects.get(customer=customer)
    cookies = sign_in(Client(), UserFactory(role="finance")).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    page.goto(live_server.url + reverse("billing:statement", args=[statement.public_id]))
    expect(page.locator(".bl-document")).to_be_hidden()
    page.get_by_role("link", name="All lines").click()
    expect(page.locator("tr[id^=line-]")).to_have_count(statement.lines_count)
    printed = page.pdf(prefer_css_page_size=True)
    sizes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert {(round(float(width)), round(float(height))) for width, height in sizes} == {A4}
    assert len(sizes) > 2
    page.emulate_media(media="print")
    head = page.locator(".bl-document")
    for text in (str(customer), "000001", "1\u201330 Nov 2026", "5 Dec 2026"):
        expect(head.get_by_text(text, exact=True)).to_be_visible()
    expect(page.get_by_text("All amounts are net, without tax.")).to_be_visible()
    expect(page.get_by_role("row", name="Total, net, in EUR")).to_be_visible()
    for hidden in (".pk-rail", ".pk-topbar", ".pk-actions", ".pk-crumbs", ".pk-meta", ".pk-legend"):
        expect(page.locator(hidden).first).to_be_hidden()
    assert page.locator(".bl-lines thead").evaluate("each => getComputedStyle(each).display") == "table-header-group"
