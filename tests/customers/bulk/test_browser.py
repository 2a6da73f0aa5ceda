"""A change to many in real browsers: ticked by one person, approved by another, watched until it ends."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from customers.models import Account, ChangeSet, Operation
from tests.customers.bulk.test_commands import accounts, colleague, go_on
from tests.customers.conftest import Desk
from tests.support.approvals import switch_on
from tests.support.browser import IN_A_BROWSER, Seat
from tests.support.people import sign_in

pytestmark = IN_A_BROWSER


@pytest.mark.long
@pytest.mark.usefixtures("transactional_db")
def test_ticked_approved_by_another_and_watched(page: Page, live_server: Any, desk: Desk) -> None:
    switch_on("delete", "bulk")
    other = colleague()
    chosen = accounts(desk, 12)
    seat = Seat(page, live_server, desk)
    page.goto(seat.url + reverse("customers:list"))
    for each in chosen[:11]:
        page.locator(f'input[name="ticked"][value="{each.public_id}"]').check()
    page.get_by_role("button", name="Edit selected").click()
    page.get_by_label("Suspend", exact=True).check()
    page.get_by_label("Reason").fill("Not paid")
    page.get_by_role("button", name="Preview changes").click()
    page.get_by_role("button", name="Request approval").click()
    expect(page.get_by_text("Waiting for approval").first).to_be_visible()
    for name, value in sign_in(Client(), other).cookies.items():
        page.context.add_cookies([{"name": name, "value": value.value, "url": live_server.url}])
    page.goto(seat.url + reverse("home"))
    page.get_by_role("region", name="Waiting for your approval").get_by_role("link").click()
    page.get_by_role("button", name="Approve and suspend 11 accounts").click()
    progress = page.locator("#change-set [role=status]")  # the pager says "of 11" all the time
    expect(progress).to_contain_text("0 of 11")
    made = ChangeSet.objects.get()
    assert go_on(made).state == "ended"
    expect(progress).to_contain_text("In progress")
    Operation.objects.update(state="succeeded", finished_at=made.finished_at)
    expect(progress).to_contain_text("11 of 11")
    assert seat.complaints == []
    assert not Operation.objects.filter(account=chosen[11]).exists()
    assert Account.objects.filter(desired_state="stopped_by_us").count() == 11
