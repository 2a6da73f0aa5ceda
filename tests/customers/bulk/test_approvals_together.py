"""A bulk change is decided by two people at the same moment: one decision counts, and it runs once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.models import ChangeSet, Operation, Schedule
from customers.schedules import commands as schedule_commands
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.support.approvals import switch_on
from tests.support.factories import AccountFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
DECISIONS = ("bulk.approved", "bulk.refused", "bulk.cancelled")


@pytest.fixture
def people() -> list[User]:
    switch_on("delete", "bulk")
    return [UserFactory(role="admin") for _ in range(3)]


def waiting(person: User) -> ChangeSet:
    """A delete, which always needs approval."""
    made = bulk_commands.plan_bulk_change(
        Command(person, timezone.now(), reason="They left", token=uuid4().hex),
        kind="delete",
        wanted={"without_reading": False},
        account_ids=[AccountFactory().pk],
    )
    return bulk_commands.submit_bulk_change(Command(person, timezone.now()), change_set=made)


def told_by(work: Callable[[], Any]) -> str:
    try:
        work()
    except Refusal as refusal:
        return str(refusal)
    return "done"


def approve(person: User, change_set: ChangeSet) -> str:
    return told_by(
        lambda: bulk_commands.approve_bulk_change(
            Command(person, timezone.now()), change_set=change_set, plan_hash=change_set.plan_hash
        )
    )


def test_two_approve(people: list[User]) -> None:
    asked, *approvers = people
    for _ in rounds():
        made = waiting(asked)

        def work(n: int, of: ChangeSet = made) -> str:
            said = approve(approvers[n], of)
            bulk_run.run_bulk_change(of.pk, seconds=60.0)
            return said

        told = together(work, 2)
        bulk_run.run_bulk_change(made.pk, seconds=60.0)
        made.refresh_from_db()
        assert sorted(told) == ["This bulk change is no longer waiting for approval.", "done"]
        assert AuditEvent.objects.filter(object_id=made.public_id, verb="bulk.approved").count() == 1
        assert made.approved_by in approvers
        assert Operation.objects.filter(kind="delete", change_set_item__change_set=made).count() == 1
        assert Operation.objects.filter(kind="delete", account=made.items.get().account_id).count() == 1


@pytest.mark.parametrize("other", ["refuse", "cancel"])
def test_one_approves_and_another_stops_it(other: str, people: list[User]) -> None:
    asked, first, second = people
    for _ in rounds():
        made = waiting(asked)
        now = timezone.now()
        stop = {
            "refuse": lambda of=made, at=now: bulk_commands.reject_bulk_change(
                Command(second, at, reason="They pay"), change_set=of
            ),
            "cancel": lambda of=made, at=now: bulk_commands.cancel_bulk_change(Command(asked, at), change_set=of),
        }[other]
        told = together(lambda n, of=made, s=stop: told_by(s) if n else approve(first, of), 2)
        bulk_run.run_bulk_change(made.pk, seconds=60.0)
        made.refresh_from_db()
        assert "done" in told
        if other == "refuse":
            assert told.count("done") == 1
        decisions = AuditEvent.objects.filter(object_id=made.public_id, verb__in=DECISIONS).order_by("pk")
        verbs = decisions.values_list("verb", flat=True)
        if made.state in ("refused", "cancelled"):
            assert verbs.last() != "bulk.approved"
            assert not Operation.objects.filter(change_set_item__change_set=made).exists()
        else:
            assert list(verbs) == ["bulk.approved"]


def test_a_schedule_is_edited_and_cancelled(people: list[User]) -> None:
    """Whoever comes second is told, or cancels what was edited, and the audit log names what was cancelled."""
    for _ in rounds():
        now = timezone.now()
        made = schedule_commands.schedule_change(
            Command(people[0], now, reason="Unpaid", token=uuid4().hex),
            account=AccountFactory(),
            kind="suspend",
            due_at=now + timedelta(days=2),
        )
        shown = Schedule.objects.get(pk=made.pk)
        works = [
            lambda of=made, at=now: schedule_commands.edit_schedule(
                Command(people[1], at, reason="Unpaid"), schedule=of, version=1, due_at=at + timedelta(days=3)
            ),
            lambda of=shown, at=now: schedule_commands.cancel_schedule(Command(people[2], at), schedule=of),
        ]
        told = together(lambda n, w=works: told_by(w[n]), 2)
        made.refresh_from_db()
        assert made.state == "cancelled"
        cancelled = AuditEvent.objects.get(object_id=made.public_id, verb="schedule.cancelled")
        assert cancelled.before["due"] == made.due_at.isoformat()
        assert told == ["done"] * 2 if made.version == 2 else "has already run or was canceled" in "".join(told)


def test_two_request_a_delete_of_one_account(people: list[User]) -> None:
    for _ in rounds():
        account = AccountFactory()
        drafts = [
            bulk_commands.plan_bulk_change(
                Command(person, timezone.now(), reason="They left", token=uuid4().hex),
                kind="delete",
                wanted={"without_reading": False},
                account_ids=[account.pk],
            )
            for person in people[:2]
        ]

        def work(n: int, of: list[ChangeSet] = drafts) -> str:
            command = Command(people[n], timezone.now())
            return told_by(lambda: bulk_commands.submit_bulk_change(command, change_set=of[n]))

        told = together(work, 2)
        assert ChangeSet.objects.filter(state="waiting", items__account=account).count() == told.count("done") == 1
