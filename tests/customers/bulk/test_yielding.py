"""A bulk change yields to what a person requests of the same connection: in the queue, in workers, and in its rate."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from customers import dispatcher
from customers.bulk import run as bulk_run
from customers.connections import worker_shares
from customers.models import Heartbeat, Operation
from customers.operations import executor
from tests.customers.bulk.test_commands import accounts, plan, submit
from tests.customers.conftest import Desk
from tests.support import messages
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory

OPS = "ops"


@pytest.mark.django_db
@pytest.mark.parametrize("probe", [True, False])  # without the probe, creates go one at a time: another query
def test_what_a_person_requested_comes_first(probe: bool) -> None:
    connection = ConnectionFactory(probe_available=probe)
    bulk = [OperationFactory(account=AccountFactory(connection=connection), is_bulk=True) for _ in range(3)]
    click = OperationFactory(account=AccountFactory(connection=connection))
    unknown = OperationFactory(account=AccountFactory(connection=connection), state="unknown")
    first, second = [click.pk, unknown.pk], [each.pk for each in bulk]
    now = timezone.now()
    assert dispatcher.due_operations(now=now) == first + second
    assert dispatcher.due_operations(now=now, connection_id=connection.pk, of_each=9) == first + second
    assert dispatcher.due_operations(now=now, connection_id=connection.pk, of_each=1) == first[:1]


@pytest.mark.django_db
def test_an_operation_behind_another_of_its_account_is_not_next() -> None:
    leads = OperationFactory()
    OperationFactory(account=leads.account, kind="offerings")
    due = dispatcher.due_operations(now=timezone.now(), connection_id=leads.connection_id, of_each=9)
    assert due == [leads.pk]


@pytest.mark.parametrize(("total", "gets"), [(1, 1), (2, 1), (3, 1), (4, 1), (8, 3)])
def test_it_leaves_the_last_of_several_places(total: int, gets: int) -> None:
    mine = 0
    while worker_shares.free_places(total=total, taken=mine, mine=mine, leave_one=True):
        mine += 1
    assert mine == gets
    assert total < 3 or worker_shares.free_places(total=total, taken=mine, mine=mine)


@pytest.mark.django_db(transaction=True)
def test_a_click_finds_the_place_it_left() -> None:
    now = timezone.now()
    Heartbeat.objects.create(kind="worker", name="ops@one", queues=[OPS], processes=4, started_at=now, seen_at=now)
    with (
        worker_shares.worker_place(OPS, 7, leave_one=True) as bulk,
        worker_shares.worker_place(OPS, 7, leave_one=True) as more,
    ):
        assert (bulk, more) == (True, False)
        with worker_shares.worker_place(OPS, 7) as click:
            assert click


def test_its_operations_are_known_and_a_click_is_enqueued(desk: Desk) -> None:
    bulk_run.run_bulk_change(submit(desk, plan(desk, accounts(desk, 25))).pk, seconds=60)
    assert Operation.objects.filter(is_bulk=True).count() == 25
    [account] = accounts(desk, 1)
    with messages.sent() as sent:
        click = desk.ask("suspend", account)
    assert not click.is_bulk
    assert ("customers.perform", click.pk) in sent


@pytest.mark.parametrize("is_bulk", [True, False])
def test_it_leaves_people_a_part_of_the_rate(desk: Desk, monkeypatch: pytest.MonkeyPatch, is_bulk: bool) -> None:
    used: list[str] = []

    def client(name: str) -> Any:
        def connect(connection: Any) -> Any:
            used.append(name)
            return desk.connect(connection)

        return connect

    operation = desk.ask("suspend", desk.created())
    Operation.objects.filter(pk=operation.pk).update(is_bulk=is_bulk)
    monkeypatch.setattr(executor, "background_client", client("background"))
    monkeypatch.setattr(executor, "client_for", client("everyone"))
    executor.perform(operation.pk)
    assert used == ["background" if is_bulk else "everyone"]
