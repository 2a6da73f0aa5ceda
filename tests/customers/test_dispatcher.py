"""What the dispatcher picks: only what a worker can take, and from every connection in turn."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from customers import dispatcher
from customers.models import Account, Connection, Operation
from customers.models.operation_states import OperationState
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory

pytestmark = pytest.mark.django_db
BLOCKED = 10_000


def behind(first: Operation, count: int) -> None:
    """So many queued operations of the same account, one behind the other."""
    account, now = first.account, timezone.now()
    Operation.objects.bulk_create(
        [
            Operation(
                kind="suspend", account=account, connection=first.connection, number=first.number + n, version=1,
                requested_by=first.requested_by, client_token=f"behind-{first.pk}-{n}", not_before=now, created_at=now,
            )
            for n in range(1, count + 1)
        ],
        batch_size=1000,
    )  # fmt: skip
    Account.objects.filter(pk=account.pk).update(last_operation=first.number + count)


def creates(connection: Connection, count: int) -> list[Operation]:
    person = UserFactory()
    accounts = [AccountFactory(pending=True, connection=connection) for _n in range(count)]
    return [OperationFactory(kind="create", account=each, requested_by=person) for each in accounts]


@pytest.mark.long
def test_ten_thousand_rows_behind_another_one_keep_nothing_back() -> None:
    first = OperationFactory(state=OperationState.NEEDS_ATTENTION)
    behind(first, BLOCKED)
    free = OperationFactory(account=AccountFactory(connection=first.connection))
    assert dispatcher.due_operations(now=timezone.now()) == [free.pk]


def test_creates_that_wait_for_their_lane_keep_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "ENQUEUED_AT_ONCE", 5)
    connection = ConnectionFactory(probe_available=None)
    waiting = creates(connection, 12)
    other = OperationFactory(account=AccountFactory(connection=connection))
    due = dispatcher.due_operations(now=timezone.now())
    assert due == [waiting[0].pk, other.pk], "one create at a time, and whatever is no create"

    Operation.objects.filter(pk=waiting[0].pk).update(
        state=OperationState.UNKNOWN, concurrency_key=f"create:{connection.pk}"
    )
    late = timezone.now() - timedelta(seconds=1)
    Operation.objects.filter(pk=waiting[0].pk).update(not_before=late + timedelta(hours=1))
    assert dispatcher.due_operations(now=timezone.now()) == [other.pk], "the lane is taken"


def test_a_paused_connection_keeps_nothing_back() -> None:
    first = OperationFactory()
    behind(first, 300)
    Connection.objects.filter(pk=first.connection_id).update(paused="person")
    free = OperationFactory()
    assert dispatcher.due_operations(now=timezone.now()) == [free.pk]


def test_the_connections_take_turns() -> None:
    busy = ConnectionFactory()
    many = creates(busy, dispatcher.ENQUEUED_AT_ONCE + 20)
    few = creates(ConnectionFactory(), 3)
    due = dispatcher.due_operations(now=timezone.now())
    assert len(due) == dispatcher.ENQUEUED_AT_ONCE
    assert {each.pk for each in few} <= set(due)
    assert due[:2] == [many[0].pk, few[0].pk], "and nobody waits for a whole queue in front"


def test_what_is_picked_can_be_claimed() -> None:
    """The same rows: nothing is picked that a claim would refuse, and nothing it would take is left out."""
    connection = ConnectionFactory(probe_available=None)
    creates(connection, 3)
    behind(OperationFactory(), 3)
    OperationFactory(not_before=timezone.now() + timedelta(hours=1))
    OperationFactory(account=AccountFactory(connection=ConnectionFactory(paused="auth")))
    OperationFactory(state=OperationState.UNKNOWN)
    OperationFactory(state=OperationState.UNKNOWN, lease_until=timezone.now() + timedelta(minutes=1))
    now = timezone.now()
    due = dispatcher.due_operations(now=now)
    everything = list(Operation.objects.order_by("pk").values_list("pk", flat=True))
    taken = [
        pk
        for pk in everything
        if dispatcher.transitions.claim(pk, now=now) or dispatcher.transitions.claim_for_verification(pk, now=now)
    ]
    assert sorted(due) == taken
