"""What the connections pages cost where a connection has many accounts and many operations."""

from __future__ import annotations

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from customers.connections.queries import connection_rows
from customers.models import Account, Connection, Operation
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.work import work_of

pytestmark = pytest.mark.django_db


def fill(connection: Connection, accounts: int) -> None:
    """That many accounts, each with an operation not finished and one that is."""
    customer, person = CustomerFactory(may_be_bare=False), UserFactory()
    made = Account.objects.bulk_create(
        AccountFactory.build(customer=customer, connection=connection) for _ in range(accounts)
    )
    Operation.objects.bulk_create(
        OperationFactory.build(account=account, number=number, requested_by=person, state=state)
        for account in made
        for number, state in enumerate(("queued", "succeeded"), 1)
    )


def test_each_connection_counts_its_own_accounts_and_operations() -> None:
    one, two, empty = (ConnectionFactory(name=name) for name in ("One", "Two", "Empty"))
    fill(one, 3)
    fill(two, 2)
    AccountFactory(connection=two, state="deleted")
    AccountFactory(connection=two, pending=True)
    counted = {each.pk: (each.account_count, each.open_count) for each in connection_rows()}
    assert counted == {one.pk: (3, 3), two.pk: (2, 2), empty.pk: (0, 0)}


@pytest.mark.long
def test_the_query_cost_grows_linearly_with_the_rows() -> None:
    connections = [ConnectionFactory() for _ in range(3)]
    for each in connections:
        fill(each, 67)
    few = work_of(connection_rows())
    for each in connections:
        fill(each, 600)
    # Ten times as many rows. A join of both is a hundred times the work; another plan for large tables may double it.
    assert work_of(connection_rows()) < 30 * few
    if database.vendor == "postgresql":
        rows = Account.objects.count() + Operation.objects.count()
        assert work_of(connection_rows()) < 2 * len(connections) * rows
        assert work_of(connection_rows().filter(pk=connections[0].pk)) < 2 * rows


def test_the_pages_ask_as_often_for_many_connections_as_for_one(client: Client) -> None:
    client.force_login(UserFactory(role="admin"))

    def queries() -> int:
        with CaptureQueriesContext(database) as asked:
            assert client.get("/connections/").status_code == 200
        return len(asked)

    fill(ConnectionFactory(), 2)
    queries()
    few = queries()
    for _ in range(3):
        fill(ConnectionFactory(), 5)
    assert queries() == few
