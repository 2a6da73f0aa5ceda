"""Prices from a CSV file and a contract, as finance makes them in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from billing.models import Contract, PriceList
from billing.pricing.contract_days import contract_in_force
from tests.billing.pricing.pages import BASE, OVERAGE, contract_of, new_list, published
from tests.billing.pricing.statements.agreed import account, figure
from tests.support.browser import IN_A_BROWSER
from tests.support.factories import PACKAGE, CustomerFactory, OfferingFactory, UserFactory
from tests.support.people import sign_in

pytestmark = [*IN_A_BROWSER, pytest.mark.long]
HEAD = "offering,component,amount,included,per,up_to,rate\n"


@pytest.fixture
def finance(page: Page, live_server: Any, transactional_db: None) -> Iterator[Page]:
    """Return a browser of finance. What the policy refuses or the script throws fails the test."""
    complaints: list[str] = []
    page.on("console", lambda each: complaints.append(each.text) if "Policy" in each.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    cookies = sign_in(Client(), UserFactory(role="finance", name="Fiona Finance")).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    page.goto(live_server.url)
    yield page
    assert complaints == []


def csv_of(*rows: str) -> Any:
    return {"name": "prices.csv", "mimeType": "text/csv", "buffer": (HEAD + "\n".join(rows)).encode()}


def rated_list() -> PriceList:
    """A list in force, with a customer who used 30,500 emails beyond the included ones last month."""
    row = new_list("Standard")
    today = timezone.now().date()
    published(row, BASE, OVERAGE, since=today - timedelta(days=900))
    last = today.replace(day=1) - timedelta(days=1)
    found = account(CustomerFactory(company_name="Larkfield Outdoor", may_be_bare=False))
    OfferingFactory(name=PACKAGE, connection=found.connection)
    contract_of(found.customer, row, since=today - timedelta(days=900))
    figure(found, 130_500, start=last.replace(day=1), end=last)
    return row


def test_prices_from_a_file_with_the_dry_run(finance: Page) -> None:
    price_list = rated_list()
    finance.get_by_role("link", name="Prices", exact=True).click()
    finance.get_by_role("link", name="Standard").click()
    finance.get_by_role("link", name="Import CSV").click()
    finance.get_by_label("CSV file").set_input_files(csv_of(f"{PACKAGE},base,x,,,,"))
    finance.get_by_role("button", name="Preview changes").click()
    expect(finance.get_by_role("heading", name="Nothing was imported")).to_be_visible()
    row = finance.get_by_role("row").filter(has_text="isn't a number")
    expect(row).to_contain_text("amount")

    finance.get_by_label("CSV file").set_input_files(
        csv_of(f"{PACKAGE},base,89.95,,,,", f"{PACKAGE},overage,,100000,1000,,1.85")
    )
    finance.get_by_role("button", name="Preview changes").click()
    expect(finance.get_by_role("heading", name="Dry run")).to_be_visible()
    effect = finance.get_by_role("region", name="Customers with a difference")
    expect(effect.get_by_role("row").filter(has_text="Larkfield Outdoor")).to_contain_text("+€30.50")
    finance.get_by_role("button", name="Import into draft").click()
    finance.get_by_role("link", name="Publish version").click()
    expect(finance.get_by_role("complementary")).to_contain_text("Tiers")
    finance.get_by_label("First day").fill(f"{timezone.now().date()}")
    finance.get_by_role("button", name="Publish version 2").click()
    expect(finance.locator("#messages")).to_contain_text("Version 2 published.")
    expect(finance.get_by_role("main")).to_contain_text("€1.85 per 1,000")
    assert price_list.versions.get(n=2).published_at


def test_a_contract_with_commit_and_discount(finance: Page, live_server: Any) -> None:
    today = timezone.now().date()
    published(new_list("Standard"), BASE, OVERAGE, since=today - timedelta(days=90))
    customer = CustomerFactory(company_name="Larkfield Outdoor")
    finance.goto(live_server.url + reverse("customers:detail", args=[customer.public_id]))
    expect(finance.get_by_text("No contract in force: nothing is billed.")).to_be_visible()
    finance.get_by_role("link", name="All contracts").click()
    finance.get_by_role("button", name="Add contract").click()
    finance.get_by_role("link", name="Edit terms").click()
    finance.get_by_label("First day").fill(f"{today}")
    finance.get_by_label("Price list for SendGrid").select_option(label="Standard (EUR)")
    finance.get_by_label("Minimum commit per month").fill("500")
    finance.get_by_role("button", name="Save draft").click()
    finance.get_by_role("link", name="Add discount").click()
    finance.get_by_label("Discount in percent").fill("10")
    finance.get_by_role("checkbox", name="Overage").check(force=True)
    finance.get_by_role("button", name="Add discount").click()
    finance.get_by_role("link", name="Publish contract").click()
    expect(finance.get_by_role("main")).to_contain_text("€500.00 per month")
    expect(finance.get_by_role("main")).to_contain_text("10% discount")
    finance.get_by_role("button", name="Publish contract").click()
    expect(finance.locator("#messages")).to_contain_text("Contract published.")
    stored = Contract.objects.get()
    assert contract_in_force(customer, today) == stored
    assert stored.terms["commit"] == {"amount": "500.00", "prorated": False}
    finance.goto(live_server.url + reverse("customers:detail", args=[customer.public_id]))
    expect(finance.get_by_role("main")).to_contain_text("€500.00")


def test_a_package_is_added_by_hand(finance: Page, live_server: Any) -> None:
    price_list = new_list("Standard")
    finance.goto(live_server.url + reverse("billing:price-list", args=[price_list.public_id]))
    finance.get_by_role("button", name="Edit prices").click()
    finance.get_by_role("link", name="Package").click()
    finance.get_by_label("Offering").fill(PACKAGE)
    finance.get_by_label("Emails included").fill("100,000")
    finance.get_by_label("Rate, tier 1", exact=True).fill("0.85")
    finance.get_by_label("Up to, tier 1", exact=True).fill("400,000")
    finance.get_by_label("Rate, tier 2", exact=True).fill("0.7")
    finance.get_by_label("Rate, tier 2", exact=True).press("Enter")
    expect(finance.get_by_role("main")).to_contain_text("€0.85 per 1,000 up to 400,000; €0.70 per 1,000 above")
