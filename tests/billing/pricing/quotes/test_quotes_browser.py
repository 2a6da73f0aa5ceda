"""Prices beside a choice in a real browser: an upgrade, a new account, a scheduled change, and a bulk change."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from billing.models import PriceList
from billing.usage.periods import last_day
from customers.bulk.commands import plan_bulk_change
from customers.models import Account, Operation
from portal.commands import Command
from tests.billing.pricing.statements.agreed import contract, figure, price_list
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.customers.conftest import desk as desk  # noqa: PLC0414 - a fixture
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.factories import UserFactory

pytestmark = [*IN_A_BROWSER, pytest.mark.long]
PLANS = {PACKAGE.name: ("89.95", 100_000), BIGGER.name: ("249", 300_000)}


def prices() -> PriceList:
    rows: list[dict[str, Any]] = [{"offering": ADDON.name, "component": "dedicated_ip", "amount": "30"}]
    for name, (amount, included) in PLANS.items():
        tiers = [{"up_to": None, "rate": "0.85"}]
        rows.append({"offering": name, "component": "base", "amount": amount})
        rows.append({"offering": name, "component": "overage", "included": included, "per": 1000, "tiers": tiers})
    return price_list(*rows)


def agreed(desk: Desk) -> Account:
    """An account of a customer with a contract, in a billing period that is the calendar month."""
    account = desk.created()
    contract(account.customer, prices())
    today = timezone.now().date()
    start, end = today.replace(day=1), last_day(today.replace(day=1))
    figure(account, 150_000, start=start, end=end, status="open", high=None)
    Account.objects.filter(pk=account.pk).update(usage_start_on=start, usage_end_on=end)
    return account


def test_an_upgrade_shows_its_price_difference(seat: Seat, desk: Desk) -> None:
    account = agreed(desk)
    page = seat.open("account-offerings", account)
    aside = page.get_by_role("complementary", name="Changes")
    expect(aside).to_contain_text("€119.95")
    page.get_by_text("Pro 300K").click()
    expect(aside).to_contain_text(re.compile(r"Difference per month\s+\+€159.05"))
    expect(aside.get_by_role("row", name=re.compile("Overage"))).to_contain_text("\u2212€42.50")
    expect(aside).to_contain_text("Included in this billing period: 300,000 emails instead of 100,000")
    page.get_by_label("Remove one Dedicated IP").click()
    expect(aside).to_contain_text(re.compile(r"Difference per month\s+\+€129.05"))
    page.get_by_label("I've confirmed these changes with the customer.").check()
    page.get_by_role("button", name="Replace offerings").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind")
    expect(page.get_by_role("region", name="Bill so far")).to_contain_text("Total, at least")
    assert Operation.objects.filter(kind="offerings").exists()


def test_a_broken_price_keeps_no_account_from_being_made(seat: Seat, desk: Desk) -> None:
    customer = desk.customer()
    contract(customer, price_list({"offering": PACKAGE.name, "component": "base", "amount": "cheap"}))
    page = seat.page
    address = reverse("customers:account-create", args=[customer.public_id])
    page.goto(f"{seat.url}{address}?connection={desk.connection.public_id}")
    page.get_by_text("Pro 100K").click()
    expect(page.get_by_role("region", name="Price")).to_contain_text("The price couldn't be calculated.")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind")
    assert Operation.objects.filter(kind="create").exists()


def test_a_new_account_shows_its_price(seat: Seat, desk: Desk) -> None:
    prices()
    page = seat.page
    page.goto(f"{seat.url}{reverse('customers:create')}?connection={desk.connection.public_id}")
    price = page.get_by_role("region", name="Price")
    expect(price).to_contain_text("Choose a package to see the price.")
    page.get_by_text("Pro 100K").click()
    expect(price).to_contain_text("€89.95")
    page.get_by_label("Add one Dedicated IP").click()
    expect(price).to_contain_text("€119.95")
    expect(price).to_contain_text("Nothing is billed until finance publishes a contract.")


def test_a_scheduled_change_shows_its_price(seat: Seat, desk: Desk) -> None:
    page = seat.open("schedule-new", agreed(desk))
    page.get_by_label("Change package").check()
    page.get_by_label("New package").select_option(BIGGER.name)
    page.get_by_label("On a specific date").check()
    page.get_by_label("Date", exact=True).fill(f"{timezone.now().date() + timedelta(days=40)}")
    form = page.locator("form.pk-dialog-form")
    expect(form).to_contain_text("+€159.05")


def test_a_bulk_change_shows_prices_of_accounts(seat: Seat, desk: Desk) -> None:
    account = agreed(desk)
    command = Command(UserFactory(role="admin"), timezone.now(), reason="More room", token=uuid4().hex)
    made = plan_bulk_change(command, kind="package", wanted={"offering": BIGGER.name}, account_ids=[account.pk])
    page = seat.page
    page.goto(seat.url + made.get_absolute_url())
    expect(page.locator("#bulk-price")).to_contain_text("+€159.05")
    expect(page.locator(f"#price-{account.public_id}")).to_contain_text("€119.95 → €279.00")
