"""The first day in a real browser: a tick counts from the moment it is set."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from customers.models import Account, AccountImport, RemoteAccount, Scan
from customers.observed import scan_requests
from customers.reconcile import account_import as account_imports
from portal.access.roles import Role
from tests.customers.conftest import Desk
from tests.support.browser import IN_A_BROWSER, Seat

pytestmark = IN_A_BROWSER


@pytest.mark.long
def test_who_is_unticked_stays_behind(page: Page, live_server: Any, desk: Desk) -> None:
    desk.person.role = Role.ADMIN
    desk.person.save(update_fields=["role"])
    seat = Seat(page, live_server, desk)
    rows = [{"email": f"it@customer{n}.example"} for n in range(7)]
    ids = [row["id"] for row in desk.sandbox.admin.add_accounts(rows)]
    page.goto(seat.url + reverse("customers:connection", args=[desk.connection.public_id]))
    page.get_by_role("link", name="Import existing accounts").click()
    page.get_by_role("button", name="Scan for existing accounts").click()
    expect(page.get_by_role("main").get_by_text("Scanning the SendGrid account list")).to_be_visible()
    scan_requests.run_scan(Scan.objects.get().pk, connect=desk.connect)
    page.get_by_role("button", name="Match to customers").click()
    expect(page.get_by_role("button", name="Import 7 accounts")).to_be_visible()
    page.wait_for_load_state()  # or the script hears of no change yet
    page.get_by_label(f"Import {ids[3]}").uncheck()
    page.get_by_role("button", name="Import 6 accounts").click()
    expect(page.get_by_role("main").get_by_text("In progress")).to_be_visible()
    account_imports.import_chunk(AccountImport.objects.get().pk, connect=desk.connect)
    expect(page.get_by_role("main").get_by_text("Completed")).to_be_visible()
    assert seat.complaints == []
    assert Account.objects.count() == 6
    assert RemoteAccount.objects.orphans().get().provider_id == ids[3]
