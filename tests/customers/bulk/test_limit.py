"""The limit holds on every way to a suspension, and counts what is under way, whatever its age."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.bulk import approval
from customers.bulk import commands as bulk_commands
from customers.models import Account, ChangeSet, Hold, Operation, Schedule
from customers.monitoring.operation_invariants import approved_by_who_asked
from customers.operations import commands as operation_commands
from customers.operations.bulk_limit import counted_accounts
from customers.reconcile import drift
from customers.schedules import commands as schedule_commands
from customers.schedules import due, holds
from portal.access.models import User
from portal.commands import Command
from portal.refusals import Refusal
from tests.customers.bulk.test_commands import NOW, accounts, colleague, go_on, plan, submit
from tests.customers.conftest import Desk
from tests.customers.page_helpers import prose_of
from tests.support.approvals import switch_on
from tests.support.factories import CustomRoleFactory
from tests.support.people import sign_in

DAY = timedelta(hours=24, seconds=1)
NEEDS = "needs approval, so nothing was sent"


@pytest.fixture(autouse=True)
def other(desk: Desk) -> User:
    return colleague()


def command(person: User, **more: Any) -> Command:
    return Command(person, **{"now": timezone.now(), "reason": "Not paid", "token": uuid4().hex} | more)


def limit(accounts_at_most: int) -> None:
    switch_on("bulk", threshold=accounts_at_most, window_hours=24)


def counted(person: User, *, since: timedelta = timedelta(hours=1)) -> int:
    return counted_accounts(person, since=NOW - since).count()


class TestUnderWay:
    def test_a_pause_is_no_way_around_it(self, desk: Desk) -> None:
        limit(2)
        chosen, later = accounts(desk, 4), NOW + DAY
        first = submit(desk, plan(desk, chosen[:2]))
        bulk_commands.pause_bulk_change(Command(desk.person, NOW), change_set=first)
        second = plan(desk, chosen[2:], now=later)
        bulk_commands.submit_bulk_change(Command(desk.person, later), change_set=second)
        assert second.state == "waiting"
        with pytest.raises(Refusal, match="needs approval now, so it can't be resumed"):
            bulk_commands.resume_bulk_change(Command(desk.person, later), change_set=first)
        bulk_commands.cancel_bulk_change(Command(desk.person, later), change_set=second)
        bulk_commands.resume_bulk_change(Command(desk.person, later), change_set=first)
        first.refresh_from_db()
        assert first.state == "running"

    def test_an_approved_one_is_resumed(self, desk: Desk, other: User) -> None:
        limit(1)
        made = submit(desk, plan(desk, accounts(desk, 2)))
        bulk_commands.approve_bulk_change(Command(other, NOW), change_set=made, plan_hash=made.plan_hash)
        bulk_commands.pause_bulk_change(Command(desk.person, NOW), change_set=made)
        bulk_commands.resume_bulk_change(Command(desk.person, NOW), change_set=made)
        made.refresh_from_db()
        assert made.state == "running"

    def test_what_was_requested_counts_from_then(self, desk: Desk) -> None:
        limit(3)
        chosen = accounts(desk, 3)
        made = submit(desk, plan(desk, chosen))
        ChangeSet.objects.filter(pk=made.pk).update(submitted_at=NOW - timedelta(days=3))
        assert counted(desk.person) == 3
        go_on(made)
        assert counted(desk.person) == 3
        assert counted(desk.person, since=-timedelta(hours=1)) == 0
        # Of an earlier version, and without an operation.
        tags = go_on(submit(desk, plan(desk, chosen, "tag_add", wanted={"tag": "late"})))
        Operation.objects.all().update(state="cancelled", finished_at=NOW)
        ChangeSet.objects.filter(pk=tags.pk).update(submitted_at=None)
        assert counted(desk.person) == 3

    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_what_came_to_nothing_does_not_count(self, desk: Desk, state: str) -> None:
        limit(3)
        go_on(submit(desk, plan(desk, accounts(desk, 3))))
        _end(state)
        assert counted(desk.person) == 0


class TestOtherWays:
    def test_schedules_that_are_due_together(self, desk: Desk) -> None:
        limit(2)
        chosen, at = accounts(desk, 4), timezone.now() + timedelta(days=3)
        for account in chosen[:2]:
            _schedule(desk, account, at)
        with pytest.raises(Refusal, match="Nothing was scheduled"):
            _schedule(desk, chosen[2], at + timedelta(hours=2))
        other_day = _schedule(desk, chosen[2], at + timedelta(days=2))
        with pytest.raises(Refusal, match="Nothing was scheduled"):
            schedule_commands.edit_schedule(command(desk.person), schedule=other_day, version=1, due_at=at)

    def test_a_due_one_beyond_the_limit_is_skipped(self, desk: Desk) -> None:
        chosen, at = accounts(desk, 3), timezone.now() + timedelta(hours=2)
        made = [_schedule(desk, account, at) for account in chosen]
        limit(2)
        for each in made:
            due.run_schedule(each.pk, now=at + timedelta(minutes=1))
        assert Operation.objects.count() == 2
        skipped = Schedule.objects.get(state="skipped")
        assert NEEDS in skipped.outcome

    def test_retries(self, desk: Desk) -> None:
        for account in accounts(desk, 2):
            operation_commands.request_suspend(
                command(desk.person, now=timezone.now() - timedelta(days=3)), account=account
            )
        _end("failed")
        limit(1)
        first, second = Operation.objects.order_by("pk")
        assert operation_commands.retry_operation(command(desk.person), operation=first)
        with pytest.raises(Refusal, match=NEEDS):
            operation_commands.retry_operation(command(desk.person), operation=second)

    def test_drift_that_is_reapplied(self, desk: Desk) -> None:
        limit(1)
        found = []
        for account in accounts(desk, 2, desired_state="stopped_by_us"):
            one = drift.drift_of(account, "state", today=timezone.now().date())
            assert one
            found.append(one)
        assert drift.push(command(desk.person), drift=found[0])
        with pytest.raises(Refusal, match=NEEDS):
            drift.push(command(desk.person), drift=found[1])


def test_a_confirmed_hold_is_overridden_once_approved(desk: Desk, other: User) -> None:
    limit(1)
    first, held = accounts(desk, 2)
    holds.place_hold(command(desk.person), account=held, until=None)
    bulk_commands.request_account_suspend(command(desk.person), account=first)
    said = {"despite_hold": str(Hold.objects.get().public_id)}
    made = bulk_commands.request_account_suspend(command(desk.person), account=held, payload=said)
    assert isinstance(made, ChangeSet)
    assert made.items.get().warnings == [Hold.objects.get().text]
    bulk_commands.approve_bulk_change(Command(other, NOW), change_set=made, plan_hash=made.plan_hash)
    go_on(made)
    assert Operation.objects.get(account=held).payload["despite_hold"] == said["despite_hold"]


def test_the_requester_without_the_page_cancels(desk: Desk) -> None:
    switch_on("delete")
    role = CustomRoleFactory(permissions=["view", "delete_account"])
    person = colleague("finance", "Del")
    User.objects.filter(pk=person.pk).update(role="custom", custom_role=role)
    person = User.objects.get(pk=person.pk)
    assert person not in approval.other_approvers(desk.person, "delete", now=timezone.now())
    [account] = accounts(desk, 1)
    made = bulk_commands.request_account_delete(command(person), account=account)
    assert isinstance(made, ChangeSet)
    url = reverse("customers:bulk-cancel", args=[made.public_id])
    assert sign_in(Client(), desk.person).post(url).status_code == 422
    client = sign_in(Client(), person)
    assert "Cancel request" in prose_of(client.get(made.get_absolute_url()))
    assert client.post(url).status_code == 303
    made.refresh_from_db()
    assert made.state == "cancelled"
    assert client.post(url).status_code == 422


def test_the_invariant_finds_a_delete_past_the_gate(desk: Desk) -> None:
    before = timezone.now()
    [account] = accounts(desk, 1)
    operation = operation_commands.request_delete(command(desk.person), account=account)
    switch_on("delete", on_since=before)
    assert list(approved_by_who_asked(timezone.now())) == [f"{operation.code} deleted an account without approval"]


def _schedule(desk: Desk, account: Account, at: Any) -> Schedule:
    return schedule_commands.schedule_change(command(desk.person), account=account, kind="suspend", due_at=at)


def _end(state: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE customers_operation SET state = %s, error_kind = 'x', finished_at = created_at", [state])
