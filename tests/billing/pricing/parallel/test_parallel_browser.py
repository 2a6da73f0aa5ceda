"""The parallel month in a real browser: a file with an error, the comparison, a row matched by hand, and the export."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from billing.usage.periods import last_day, month_after
from tests.billing.pricing.statements.agreed import account, contract, figure, price_list
from tests.support.browser import IN_A_BROWSER
from tests.support.factories import CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = [*IN_A_BROWSER, pytest.mark.long]
WRONG = "customer;amount;region\nNorthwind;89.95;EMEA\n"
RIGHT = "customer;amount;region\nNorthwind;89,95;EMEA\nLarkfield Ltd;89,95;EMEA\n"


def file_of(text: str) -> Any:
    return {"name": "invoices.csv", "mimeType": "text/csv", "buffer": text.encode()}


def test_a_month_is_compared_and_matched(page: Page, live_server: Any, transactional_db: None) -> None:
    month = month_after(timezone.now().date().replace(day=1), -1)
    prices = price_list()
    for name, used in (("Northwind", 130_500), ("Larkfield", 0)):
        one = account(CustomerFactory(company_name=name, may_be_bare=False))
        contract(one.customer, prices)
        figure(one, used, start=month, end=last_day(month))
    cookies = sign_in(Client(), UserFactory(role="finance")).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    page.goto(live_server.url + reverse("billing:parallel-months"))
    page.get_by_role("link", name="Upload spreadsheet").click()

    page.locator("[name=file]").set_input_files(file_of(WRONG))
    page.get_by_label("A comma").check()
    page.get_by_label("Currency").fill("eur")
    page.get_by_role("button", name="Upload and compare").click()
    expect(page.get_by_role("row", name="2 amount")).to_contain_text("isn't an amount such as 1.234,50")

    page.locator("[name=file]").set_input_files(file_of(RIGHT))
    page.get_by_role("button", name="Upload and compare").click()
    northwind = page.get_by_role("row", name="Northwind")
    expect(northwind).to_contain_text("+€25.93")
    expect(northwind).to_contain_text("Overage isn't in theirs: 1 line, €25.93")
    assert Axe().run(page).violations_count == 0

    page.get_by_role("link", name="Match customer").click()
    page.get_by_role("button", name="Match Larkfield").click()
    expect(page.get_by_text("Row matched.")).to_be_visible()
    page.get_by_role("navigation", name="Filter by result").get_by_role("link", name="Equal").click()
    expect(page.get_by_role("row", name="Larkfield")).to_be_visible()
    expect(page.get_by_role("row", name="Northwind")).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    assert download.value.suggested_filename.startswith(f"parallel-{month:%Y-%m}")
