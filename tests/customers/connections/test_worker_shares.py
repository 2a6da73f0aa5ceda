"""A fair share of the worker processes: which connection gets a place, and that a place ends with its process."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from customers import dispatcher, tasks
from customers.connections import worker_shares
from customers.models import Account, Heartbeat, Operation
from customers.models.operation_states import OperationState
from customers.operations import commands as operation_commands
from customers.operations import request as operation_request
from portal.commands import Command
from tests.support import messages
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

OPS = "ops"


def workers(processes: int) -> None:
    now = timezone.now()
    Heartbeat.objects.create(
        kind="worker", name="ops@one", queues=[OPS], processes=processes, started_at=now, seen_at=now
    )


@pytest.mark.parametrize(
    ("total", "gets"),
    [(1, [1, 0]), (2, [1, 1, 0]), (3, [2, 1, 0]), (4, [2, 1, 1, 0]), (8, [4, 2, 1, 1, 0])],
)
def test_a_connection_gets_half_of_what_is_free(total: int, gets: list[int]) -> None:
    taken = 0
    for expected in gets:
        mine = 0
        while worker_shares.free_places(total=total, taken=taken, mine=mine):
            assert worker_shares.free_places(total=total, taken=taken, mine=mine) == expected - mine
            taken, mine = taken + 1, mine + 1
        assert mine == expected


@pytest.mark.django_db
def test_shares_use_the_reported_processes_or_one_if_unknown() -> None:
    assert worker_shares.max_places(OPS) == 1
    workers(8)
    Heartbeat.objects.create(
        kind="worker", name="ops@old", queues=[OPS], started_at=timezone.now(), seen_at=timezone.now()
    )
    gone = timezone.now() - timedelta(minutes=3)
    Heartbeat.objects.create(kind="worker", name="ops@gone", queues=[OPS], processes=90, started_at=gone, seen_at=gone)
    assert worker_shares._total(OPS) == 9
    assert worker_shares.max_places("sync") == 1


@pytest.mark.django_db(transaction=True)
def test_a_place_is_given_back_however_the_work_ends() -> None:
    first = OperationFactory()
    with worker_shares.worker_place(OPS, 7) as taken, worker_shares.worker_place("sync", 7) as elsewhere:
        assert (taken, elsewhere) == (True, True)
    with pytest.raises(ZeroDivisionError), worker_shares.worker_place(OPS, 7):
        raise ZeroDivisionError
    assert worker_shares.free_places_of(OPS, 7) == 1
    assert dispatcher.connection_of_operation(first.pk) == (first.connection_id, False)
    Operation.objects.update(state=OperationState.CANCELLED, finished_at=timezone.now())
    assert dispatcher.connection_of_operation(first.pk) is None


@pytest.mark.django_db
def test_an_ended_operation_enqueues_what_fits_its_connection() -> None:
    workers(4)
    one, disabled = ConnectionFactory(), UserFactory(is_active=False)
    ends = OperationFactory(account=AccountFactory(connection=one), requested_by=disabled)
    rows = [OperationFactory(account=AccountFactory(connection=one)) for _ in range(4)]
    OperationFactory()
    with messages.sent() as found:
        tasks.perform(ends.pk)
    assert found == [("customers.perform", rows[0].pk), ("customers.perform", rows[1].pk)]
    Operation.objects.filter(pk=rows[0].pk).update(not_before=timezone.now() + timedelta(hours=1))
    with messages.sent() as found:
        tasks.perform(rows[0].pk)
    assert found == [], "who took nothing calls nobody"


@pytest.mark.django_db
def test_the_dispatcher_enqueues_only_a_connections_share() -> None:
    workers(4)
    slow, other = ConnectionFactory(), OperationFactory()
    rows = [OperationFactory(account=AccountFactory(connection=slow)) for _ in range(9)]
    with messages.sent() as found:
        dispatcher.dispatch(now=timezone.now())
    assert {each[1] for each in found if each[0] == "customers.perform"} == {rows[0].pk, rows[1].pk, other.pk}


@pytest.mark.django_db
def test_a_slow_connection_keeps_back_no_reading_of_another() -> None:
    old = timezone.now() - timedelta(days=3)
    many = AccountFactory.create_batch(12, connection=ConnectionFactory())
    few = AccountFactory.create_batch(2, connection=ConnectionFactory())
    Account.objects.filter(pk__in=[each.pk for each in many]).update(state_read_at=old - timedelta(days=1))
    Account.objects.filter(pk__in=[each.pk for each in few]).update(state_read_at=old)
    found = dispatcher.next_accounts_to_read(now=timezone.now())
    assert len(found) == 7
    assert {each.pk for each in few} <= set(found)


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
def test_eight_processes_are_shared_between_two_connections() -> None:
    workers(8)
    for _round in rounds():
        gate = get_context("fork").Barrier(8)

        def work(n: int, gate: Any = gate) -> tuple[int, bool]:
            whose = 1 if n < 6 else 2
            with worker_shares.worker_place(OPS, whose) as taken:
                gate.wait(30)  # all of them hold what they got
                return whose, taken

        found = together(work, 8)
        got = {whose: sum(taken for of, taken in found if of == whose) for whose in (1, 2)}
        assert got[1] in (3, 4), found  # 3 where both of the other one came first
        assert got[2] in (1, 2), found
        assert sum(got.values()) < 8


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
def test_a_killed_process_leaves_no_place_behind() -> None:
    workers(1)
    for _round in rounds():
        fork = get_context("fork")
        held = fork.Event()

        def work(event: Any = held) -> None:
            with worker_shares.worker_place(OPS, 7):
                event.set()
                signal.pause()

        connections.close_all()
        process = fork.Process(target=work)
        process.start()
        assert held.wait(30)
        assert worker_shares.free_places_of(OPS, 7) == 0
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(30)
        deadline = timezone.now() + timedelta(seconds=20)
        while not worker_shares.free_places_of(OPS, 7):
            assert timezone.now() < deadline


def test_room_is_never_negative() -> None:
    """Workers that ended leave more places taken than there are."""
    assert worker_shares.free_places(total=2, taken=5, mine=3) == 0


@pytest.mark.django_db
def test_a_long_queue_of_one_connection_sends_few_messages() -> None:
    one, other, person = ConnectionFactory(), AccountFactory(), UserFactory()
    with messages.sent() as found:
        for n, account in enumerate(
            [*AccountFactory.create_batch(operation_request.ENQUEUED_AT_MOST + 5, connection=one), other]
        ):
            asked = operation_commands.request_suspend(
                Command(person, timezone.now(), reason="Case 3318.", token=f"click-{n}"), account=account
            )
    assert len(found) == operation_request.ENQUEUED_AT_MOST + 1
    assert found[-1] == (operation_request.PERFORM, asked.pk), "the other connection's is sent"
