"""Asking for an account with a first key in a real browser under the real policy: what shows when, and what comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Page, expect

from customers.models import Operation
from tests.customers.conftest import Desk
from tests.customers.keys import desk_with_keys
from tests.support.factories import ConnectionFactory, OfferingFactory
from tests.support.people import sign_in
from tests.support.sandbox import SandboxProcess

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def desk(transactional_db: None, sandbox: SandboxProcess) -> Desk:
    return desk_with_keys(sandbox)


@pytest.fixture
def seat(live_server: Any, page: Page, desk: Desk) -> Iterator[Page]:
    """One person's browser. What the policy refuses or the script throws fails the test."""
    complaints: list[str] = []
    page.on("console", lambda each: complaints.append(each.text) if "Policy" in each.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    cookies = sign_in(Client(), desk.person).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    page.goto(live_server.url)
    yield page
    assert complaints == []


def harm(page: Page) -> list[str]:
    return [each["id"] for each in Axe().run(page).response["violations"]]


@pytest.mark.long
def test_an_account_with_its_key_is_asked_for_on_one_page(seat: Page, live_server: Any, desk: Desk) -> None:
    OfferingFactory(connection=ConnectionFactory(name="Another"))
    seat.goto(f"{live_server.url}/customers/new/")
    seat.get_by_label("Company").fill("Larkfield Outdoor")
    seat.get_by_label("Email", exact=True).fill("mail@larkfield.example")
    seat.get_by_label("Website").fill("https://larkfield.example/shop")
    seat.get_by_label(desk.connection.name, exact=True).check()

    expect(seat.locator("[name=account-name]")).to_have_value("Larkfield Outdoor")
    expect(seat.locator("[name=account-website]")).to_have_value("larkfield.example")
    expect(seat.locator("[name=account-monthly_cap]")).to_be_hidden()
    expect(seat.locator("[name=key-scopes]").first).to_be_hidden()
    assert harm(seat) == []

    seat.locator("[name=account-cap][value=cap]").check()
    expect(seat.locator("[name=account-monthly_cap]")).to_be_visible()
    seat.get_by_label("Create an API key").uncheck()
    expect(seat.locator("[name=key-label]")).to_be_hidden()
    seat.get_by_label("Create an API key").check()
    seat.locator("[name=key-label]").fill("Web shop")

    seat.get_by_role("button", name="Add customer and create account").click()
    expect(seat.get_by_text("Enter the number of emails per month, or choose “No cap”.").first).to_be_visible()
    expect(seat.locator("[name=key-label]")).to_have_value("Web shop")
    assert harm(seat) == []

    seat.locator("[name=account-monthly_cap]").fill("250,000")
    seat.get_by_role("button", name="Add customer and create account").click()
    expect(seat.get_by_role("heading", name="Create API key")).to_be_visible()
    expect(seat.locator(".pk-card")).to_have_count(1)
    assert harm(seat) == []
    create, key = Operation.objects.order_by("pk")
    assert desk.perform(create).state == "succeeded"
    expect(seat.locator("#account-state")).to_contain_text("Active")
    assert desk.perform(key).state == "succeeded"
    expect(seat.get_by_role("link", name="Reveal secret")).to_be_visible()
    expect(seat.locator("#account-main")).to_contain_text("250,000 emails/month")


def test_selecting_a_connection_replaces_the_fields(seat: Page, live_server: Any, desk: Desk) -> None:
    other = ConnectionFactory(name="Another")
    OfferingFactory(connection=other)
    seat.goto(f"{live_server.url}/customers/new/")
    for name in (desk.connection.name, "Another", desk.connection.name):
        seat.get_by_label(name, exact=True).check()
        marker = "[name=package]" if name == "Another" else "[name=account-name]"
        expect(seat.locator(marker).first).to_be_attached()
    expect(seat.locator("[name=package]")).to_have_count(0)
