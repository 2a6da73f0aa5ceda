"""A hold is placed at the moment a suspend is queued or sent, in several processes."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from customers.bulk import commands as bulk_commands
from customers.bulk import run as bulk_run
from customers.models import Account, Attempt, Hold, Operation
from customers.operations import transitions
from customers.operations.commands import request_suspend
from customers.schedules import holds
from portal.access.models import User
from portal.commands import Command
from portal.leases import LostLease
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.fixture
def person() -> User:
    user: User = UserFactory()
    return user


def place(person: User, account: Account) -> str:
    try:
        holds.place_hold(Command(person, timezone.now(), reason="Pays on Friday"), account=account, until=None)
    except Refusal as refusal:
        return str(refusal)
    return "placed"


def send(operation: Operation) -> str:
    """Claim and intend, as a worker does, without the provider."""
    claimed = transitions.claim(operation.pk, now=timezone.now())
    if claimed is None:
        return "not claimed"
    try:
        transitions.intend(claimed, call="set state", request="", now=timezone.now())
    except (LostLease, transitions.SuspendOnHold) as stopped:
        return type(stopped).__name__
    return "sent"


def in_bulk(person: User, account: Account) -> Operation:
    now = timezone.now()
    made = bulk_commands.plan_bulk_change(
        Command(person, now, reason="Unpaid", token=uuid4().hex), kind="suspend", wanted={}, account_ids=[account.pk]
    )
    bulk_commands.submit_bulk_change(Command(person, now), change_set=made)
    bulk_run.run_bulk_change(made.pk, seconds=60.0)
    return Operation.objects.get(change_set_item__change_set=made)


def test_a_queued_suspend_is_sent(person: User) -> None:
    """Nothing is sent once a hold is there, and no hold is placed without a word once it was sent."""
    broken = []
    for _ in rounds():
        account = AccountFactory()
        operation = in_bulk(person, account)
        told = together(lambda n, a=account, o=operation: place(person, a) if n else send(o), 2)
        held, sent = Hold.objects.filter(account=account).exists(), Attempt.objects.filter(operation=operation).exists()
        if held == sent or not any("placed" in each or "may have been sent" in each for each in told):
            broken.append(told)
    assert not broken, f"{len(broken)} of {len(rounds())}: {broken}"


def test_a_person_suspends(person: User) -> None:
    """Somebody who was not shown the hold suspends at the moment it is placed: one of the two is told."""
    broken = []
    for _ in rounds():
        account = AccountFactory()

        def suspend(of: Account = account) -> str:
            try:
                request_suspend(Command(person, timezone.now(), reason="Unpaid", token=uuid4().hex), account=of)
            except Refusal as refusal:
                return str(refusal)
            return "queued"

        told = together(lambda n, a=account, s=suspend: place(person, a) if n else s(), 2)
        if Hold.objects.filter(account=account).exists() == Operation.objects.filter(account=account).exists():
            broken.append(told)
    assert not broken, f"{len(broken)} of {len(rounds())}: {broken}"


def test_two_holds(person: User) -> None:
    for _ in rounds():
        account = AccountFactory()
        told = together(lambda _n, a=account: place(person, a), 2)
        assert Hold.objects.filter(account=account).count() == 1
        assert sorted("already marked this account" in each for each in told) == [False, True]
