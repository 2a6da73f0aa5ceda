"""The rule for bulk changes counts accounts over a time window: twenty can't go as two of ten, nor one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from customers.bulk import approval
from customers.bulk import commands as bulk_commands
from customers.models import Account, ChangeSet, Operation
from portal.access.models import User
from portal.approvals.gate import NobodyLeft
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices.models import Notice
from tests.customers.bulk.test_commands import NOW, accounts, colleague, go_on, plan, submit
from tests.customers.conftest import Desk
from tests.customers.page_helpers import fields, hidden, prose_of
from tests.support.approvals import switch_on
from tests.support.people import sign_in

GLASS = "A hacked customer sends spam right now"


@pytest.fixture(autouse=True)
def _on(db: None) -> None:
    switch_on("bulk", "delete", threshold=10, window_hours=24)


@pytest.fixture
def other(desk: Desk) -> User:
    return colleague()


def suspend(desk: Desk, account: Account, now: Any = NOW) -> Operation | ChangeSet:
    command = Command(desk.person, now, reason="Not paid", token=uuid4().hex)
    return bulk_commands.request_account_suspend(command, account=account)


def test_twenty_do_not_go_as_two_of_ten(desk: Desk, other: User) -> None:
    chosen = accounts(desk, 20)
    first, second = plan(desk, chosen[:10]), plan(desk, chosen[10:])
    assert submit(desk, first).state == "running"
    assert submit(desk, second).state == "waiting"
    go_on(first)
    third = plan(desk, chosen[10:11], "tag_add", wanted={"tag": "late"})
    assert submit(desk, third).state == "waiting"
    for waiting in (second, third):
        bulk_commands.cancel_bulk_change(Command(desk.person, NOW), change_set=waiting)
    same_ones = plan(desk, chosen[:5], "tag_add", wanted={"tag": "late"})
    assert submit(desk, same_ones).state == "running"


def test_what_waits_counts_and_what_was_approved_does_not(desk: Desk, other: User) -> None:
    chosen = accounts(desk, 22)
    big = submit(desk, plan(desk, chosen[:11]))
    assert big.state == "waiting"
    assert submit(desk, plan(desk, chosen[11:12])).state == "waiting"
    bulk_commands.approve_bulk_change(Command(other, NOW), change_set=big, plan_hash=big.plan_hash)
    assert submit(desk, plan(desk, chosen[12:21])).state == "running"


def test_what_was_rejected_or_is_a_draft_does_not_count(desk: Desk, other: User) -> None:
    chosen = accounts(desk, 21)
    big = submit(desk, plan(desk, chosen[:11]))
    bulk_commands.reject_bulk_change(Command(other, NOW, reason="No"), change_set=big)
    plan(desk, chosen[:5])
    assert submit(desk, plan(desk, chosen[11:21])).state == "running"


def test_the_window_ends_and_others_have_their_own(desk: Desk, other: User) -> None:
    chosen = accounts(desk, 20)
    go_on(submit(desk, plan(desk, chosen[:10])))
    assert approval.needs_approval(desk.person, "suspend", [chosen[10].pk], now=NOW + timedelta(hours=23))
    assert not approval.needs_approval(desk.person, "suspend", [chosen[10].pk], now=NOW + timedelta(hours=25))
    assert not approval.needs_approval(other, "suspend", [chosen[10].pk], now=NOW)


def test_single_suspensions_in_a_row_count(desk: Desk, other: User) -> None:
    chosen = accounts(desk, 13)
    assert submit(desk, plan(desk, chosen[:8])).state == "running"
    assert isinstance(suspend(desk, chosen[8]), Operation)
    assert isinstance(suspend(desk, chosen[9]), Operation)
    waiting = suspend(desk, chosen[10])
    assert isinstance(waiting, ChangeSet)
    assert (waiting.state, waiting.kind, waiting.items.count()) == ("waiting", "suspend", 1)
    Operation.objects.filter(account=chosen[9]).update(state="cancelled", finished_at=NOW)
    bulk_commands.cancel_bulk_change(Command(desk.person, NOW), change_set=waiting)
    assert isinstance(suspend(desk, chosen[11]), Operation)


def test_a_single_suspension_over_the_limit_says_so_first(desk: Desk, other: User) -> None:
    chosen = accounts(desk, 11)
    submit(desk, plan(desk, chosen[:10]))
    client = sign_in(Client(), desk.person)
    url = reverse("customers:account-suspend", args=[chosen[10].public_id])
    page = client.get(url)
    assert "Needs approval from another team member. Vera Lind" in prose_of(page)
    answer = client.post(url, {"reason": "Not paid", "client_token": hidden(page, "client_token")})
    made = ChangeSet.objects.get(state="waiting")
    assert answer.headers["Location"] == made.get_absolute_url()
    assert Notice.objects.get(kind="approval.asked").to == other


def test_nobody_left_for_a_bulk_change(desk: Desk) -> None:
    made = plan(desk, accounts(desk, 11))
    page = sign_in(Client(), desk.person).post(
        reverse("customers:bulk-act", args=[made.public_id]), {"do": "submit", "client_token": uuid4().hex}
    )
    assert page.status_code == 422
    assert "Required role: Admin, Customer success." in prose_of(page)
    assert "If it can't wait, ask an admin." in prose_of(page)
    made.refresh_from_db()
    assert (made.state, made.submitted_at) == ("planned", None)
    with pytest.raises(NobodyLeft):  # whoever is no admin breaks no glass
        bulk_commands.submit_bulk_change(Command(desk.person, NOW, glass_reason=GLASS), change_set=made)


def test_an_admin_breaks_the_glass_for_a_delete(desk: Desk) -> None:
    User.objects.all().update(is_active=False)
    admin = colleague()
    [account] = accounts(desk, 1)
    client = sign_in(Client(), admin)
    url = reverse("customers:account-delete", args=[account.public_id])
    said = {"reason": "Left", "confirm": account.customer.company_name}
    refused = client.post(url, said | {"client_token": hidden(client.get(url), "client_token")})
    assert refused.status_code == 422
    assert "Break the glass" in prose_of(refused)
    glass = {"glass-reason": GLASS, "glass-confirmed": "1"}
    assert client.post(url, fields(refused) | glass).status_code == 303
    made = ChangeSet.objects.get()
    assert (made.kind, made.state, made.second_person) == ("delete", "running", False)
    event = AuditEvent.objects.get(verb="approval.broke_glass")
    assert (event.actor, event.reason, event.object_id) == (admin, GLASS, made.public_id)
    assert Notice.objects.filter(kind="event.approval.broke_glass").exists()
    go_on(made)
    assert Operation.objects.get().kind == "delete"
