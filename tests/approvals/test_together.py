"""Two people, or one in two windows, at the same moment: one decision counts, and nothing slips under a count."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from customers.bulk import commands as bulk_commands
from customers.models import Account, ChangeSetItem
from portal.access import staff
from portal.access.models import User
from portal.approvals import commands, gate, rules
from portal.approvals.gate import ApprovalRequired
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval, ApprovalRule
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.approvals.conftest import approve
from tests.support.approvals import switch_on
from tests.support.factories import AccountFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def told_by(work: Callable[[], Any]) -> str:
    try:
        work()
    except Refusal as refusal:
        return str(refusal)
    return "done"


def requested(ada: User, member: User) -> Approval:
    command = Command(ada, token=uuid4().hex)
    with pytest.raises(ApprovalRequired) as needed:
        staff.change_role(command, person=member, role="admin")
    return commands.request_approval(command, needed.value.change)


@pytest.fixture
def people() -> list[User]:
    switch_on("admin_role", "bulk", threshold=10)
    return [UserFactory(role="admin", name=name) for name in ("Ada", "Bo", "Cy")]


def test_two_approve(people: list[User]) -> None:
    ada, *others = people
    for _ in rounds():
        approval = requested(ada, UserFactory(role="finance"))
        told = together(lambda n, a=approval: told_by(lambda: approve(others[n], a)), 2)
        assert told.count("done") == 1, told
        assert any("no longer waiting for approval" in each for each in told), told
        assert AuditEvent.objects.filter(verb="approval.approved", object_id=approval.public_id).count() == 1
        changed = AuditEvent.objects.filter(verb="staff.role_changed", object_id=approval.subject_id)
        assert changed.count() == 1


@pytest.mark.parametrize("other", ["cancel", "reject"])
def test_approved_and_stopped(other: str, people: list[User]) -> None:
    ada, bo, cy = people
    for _ in rounds():
        member = UserFactory(role="finance")
        approval = requested(ada, member)
        stop = {
            "cancel": lambda a=approval: commands.cancel(Command(ada, timezone.now()), approval=a),
            "reject": lambda a=approval: commands.reject(Command(cy, timezone.now(), reason="No"), approval=a),
        }[other]
        told = together(lambda n, a=approval, s=stop: told_by(s) if n else told_by(lambda: approve(bo, a)), 2)
        assert told.count("done") == 1, told
        ended = Approval.objects.get(pk=approval.pk)
        assert (ended.state == "applied") is (User.objects.get(pk=member.pk).role == "admin")


def test_two_of_ten_at_once(people: list[User]) -> None:
    """Each alone is within the limit."""
    ada = people[0]
    for _ in rounds():
        ChangeSetItem.objects.update(state="cancelled")
        sets = [
            bulk_commands.plan_bulk_change(
                Command(ada, timezone.now(), reason="Not paid", token=uuid4().hex),
                kind="suspend",
                wanted={},
                account_ids=[AccountFactory().pk for _ in range(10)],
            )
            for _ in range(2)
        ]
        states = together(
            lambda n, s=sets: bulk_commands.submit_bulk_change(Command(ada, timezone.now()), change_set=s[n]).state, 2
        )
        assert sorted(states) == ["running", "waiting"]


def test_single_suspensions_at_once(people: list[User]) -> None:
    ada = people[0]
    ApprovalRule.objects.filter(kind="bulk").update(threshold=1)
    accounts = [AccountFactory() for _ in range(2)]

    def work(n: int) -> str:
        command = Command(ada, timezone.now(), reason="Not paid", token=uuid4().hex)
        return type(bulk_commands.request_account_suspend(command, account=accounts[n])).__name__

    assert sorted(together(work, 2)) == ["ChangeSet", "Operation"]


def test_a_rule_is_relaxed_twice(people: list[User]) -> None:
    """Two requests that were each made while the other rule was on: both are decided, one after the other."""
    ada, bo, cy = people
    requests = []
    for kind in (ApprovalKind.BULK, ApprovalKind.ADMIN_ROLE):
        with pytest.raises(ApprovalRequired) as needed:
            rules.change_rule(Command(ada), kind=kind, facts={"is_on": False})
        requests.append(commands.request_approval(Command(ada, token=uuid4().hex), needed.value.change))
    told = together(lambda n: told_by(lambda: approve((bo, cy)[n], requests[n])), 2)
    assert told == ["done", "done"]
    assert not ApprovalRule.objects.filter(is_on=True).exists()
    assert Approval.objects.filter(state="applied").count() == 2


def test_a_cancel_waits_for_no_admins_work(people: list[User]) -> None:
    """Admins' work locks users first, and a cancel its request: with the users' keys locked too, both would wait."""
    ada, bo, _cy = people
    approval = requested(ada, UserFactory(role="finance"))
    is_held, is_canceled = multiprocessing.Event(), multiprocessing.Event()

    def work(n: int) -> str:
        if n:
            is_held.wait(60)
            told = told_by(lambda: commands.cancel(Command(ada, timezone.now()), approval=approval))
            is_canceled.set()
            return told
        with staff.held_by_admin(bo):
            is_held.set()
            return f"held until canceled: {is_canceled.wait(2)}"

    assert sorted(together(work, 2)) == ["done", "held until canceled: True"]


def test_a_delete_locks_the_rule_before_the_account(people: list[User]) -> None:
    switch_on("delete")
    account = AccountFactory()
    draft = bulk_commands.plan_bulk_change(
        Command(people[0], timezone.now(), reason="They left", token=uuid4().hex),
        kind="delete",
        wanted={"without_reading": False},
        account_ids=[account.pk],
    )
    is_held = multiprocessing.Event()

    def work(n: int) -> str:
        if n:
            is_held.wait(60)
            return bulk_commands.submit_bulk_change(Command(people[0], timezone.now()), change_set=draft).state
        with transaction.atomic():
            gate.locked_rule(ApprovalKind.DELETE)
            is_held.set()
            until = monotonic() + 60
            while not somebody_waits() and monotonic() < until:
                pass
            Account.objects.select_for_update(no_key=True, nowait=True).get(pk=account.pk)
        return "both locked"

    assert sorted(together(work, 2)) == ["both locked", "waiting"]


def somebody_waits() -> bool:
    """Return whether another connection to this database waits for a lock."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])
