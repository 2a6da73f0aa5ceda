"""A person is searched and erased in a real browser: the page follows the worker, and can be used by everyone."""

from __future__ import annotations

import os
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from customers.models import Customer, Note
from portal.privacy.models import SubjectRequest
from tests.privacy.planted import EMAIL, LAST, NAME, admin, gone_account, settled
from tests.support.browser import _django_beside_playwright  # noqa: F401 - a fixture
from tests.support.people import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.django_db(transaction=True)]


def shoot(page: Page, name: str) -> None:
    """Keep a picture where SHOTS names a folder."""
    if folder := os.environ.get("SHOTS"):
        page.set_viewport_size({"width": 1440, "height": 900})
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_a_person_is_found_and_erased(live_server: Any, page: Page) -> None:
    account = gone_account()
    Note.objects.create(customer=account.customer, author=admin(), text=f"Call {NAME}")
    cookies = sign_in(Client(), admin()).cookies
    page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])
    page.goto(live_server.url + reverse("privacy:list"))
    page.get_by_role("link", name="Find person").click()
    page.locator("main form").get_by_label("Email", exact=True).fill(EMAIL)
    shoot(page, "search")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    page.locator("main form").get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(EMAIL)
    shoot(page, "searching")
    settled(SubjectRequest.objects.get())
    expect(page.get_by_role("heading", name="Where the person appears")).to_be_visible()
    shoot(page, "found")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    page.get_by_role("link", name="Erase data").click()
    page.get_by_label("Reason").fill("They asked us to.")
    page.get_by_label("The person's email address").fill(EMAIL)
    shoot(page, "erase")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    page.get_by_role("button", name="Erase personal data").click()
    expect(page.get_by_text("Erasure started.")).to_be_visible()
    settled(SubjectRequest.objects.get())
    expect(page.get_by_text("no row that can be changed names the person")).to_be_visible()
    shoot(page, "erased")
    assert Customer.objects.get().last_name != LAST
    page.goto(live_server.url + reverse("privacy:list"))
    shoot(page, "list")
