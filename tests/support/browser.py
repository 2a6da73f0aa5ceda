"""What a test in a browser needs: its marks, Django's ORM beside it, and one person's browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from customers.models import Account, Operation
from tests.support.people import sign_in

# What is awaited is there much sooner, except where a machine does much else: this only bounds a failure.
expect.set_options(timeout=30_000)
IN_A_BROWSER = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _django_beside_playwright(request: pytest.FixtureRequest) -> None:
    """Playwright runs an event loop in the test's thread; the ORM is still used synchronously there."""
    if request.node.get_closest_marker("browser"):
        request.getfixturevalue("monkeypatch").setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")


def is_refusal(text: str) -> bool:
    """Return whether a line of the browser's console tells of something that a policy refused or did not know."""
    return "Policy" in text or "Trusted" in text


class Seat:
    """One person's browser. What the policy refuses or the script throws fails the test."""

    def __init__(self, page: Page, live_server: Any, desk: Any) -> None:
        self.page, self.url = page, live_server.url
        self.complaints: list[str] = []
        page.on("console", lambda each: self.complaints.append(each.text) if is_refusal(each.text) else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        cookies = sign_in(Client(), desk.person).cookies
        page.context.add_cookies([{"name": n, "value": c.value, "url": live_server.url} for n, c in cookies.items()])

    def open(self, name: str, row: Account | Operation, *more: str) -> Page:
        self.page.goto(self.url + reverse(f"customers:{name}", args=[row.public_id, *more]))
        return self.page

    def slow_down(self) -> None:
        """Let every answer from now on take 300 ms longer."""
        line = {"offline": False, "latency": 300, "downloadThroughput": -1, "uploadThroughput": -1}
        self.page.context.new_cdp_session(self.page).send("Network.emulateNetworkConditions", line)


@pytest.fixture
def seat(live_server: Any, page: Page, desk: Any) -> Iterator[Seat]:
    seat = Seat(page, live_server, desk)
    yield seat
    assert seat.complaints == []
