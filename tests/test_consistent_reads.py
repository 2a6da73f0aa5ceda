"""The account's page shows one moment, also while a worker takes the operation on between two of its queries."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone

from customers.models import Account, Operation, Step
from portal.consistent_reads import consistent_read
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(work: Callable[[], None]) -> None:
    """Do the work in a thread, over a connection of its own."""

    def run() -> None:
        try:
            with transaction.atomic():
                work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


@pytest.mark.parametrize("address", ["/accounts/{0.account.public_id}/", "/operations/{0.public_id}/"])
def test_a_page_shows_one_moment(client: Client, address: str) -> None:
    sign_in(client, UserFactory())
    account = AccountFactory(pending=True)
    operation = OperationFactory(account=account, kind="create")
    Step.objects.create(operation=operation, n=1, before="", after="queued", at=timezone.now())

    def take_on() -> None:
        Operation.objects.filter(pk=operation.pk).update(state="sending", concurrency_key=f"account:{account.pk}")
        Step.objects.create(operation=operation, n=2, before="queued", after="sending", at=timezone.now())
        Account.objects.filter(pk=account.pk).update(state="active", provider_id="sg-1")

    def change(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
        if changes and sql.startswith("SELECT") and 'FROM "customers_step"' in sql:
            elsewhere(changes.pop())
        return execute(sql, *more)

    changes = [take_on]
    with connection.execute_wrapper(change):
        context = client.get(address.format(operation)).context
    assert changes == []
    part = context["together"].front
    assert (part.operation.state, [step.label for step in part.steps if step.state == "now"]) == ("queued", ["Queued"])
    assert context["account"].state == "pending"


def test_a_create_that_just_succeeded_is_not_not_created(client: Client) -> None:
    """The row is read, then the create ends, then its open operations are read."""
    sign_in(client, UserFactory())
    account = AccountFactory(pending=True)
    operation = OperationFactory(account=account, kind="create")

    def succeed() -> None:
        Operation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=timezone.now())
        Account.objects.filter(pk=account.pk).update(state="active", provider_id="sg-1")

    def change(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
        answer = execute(sql, *more)
        if changes and 'FROM "customers_account"' in sql and "usage_used" in sql:
            elsewhere(changes.pop())
        return answer

    changes = [succeed]
    with connection.execute_wrapper(change):
        shown = client.get("/customers/").content.decode()
    assert changes == []
    assert "pk-s-not-created" not in shown
    assert (account.state, account.shown_state) == ("pending", "pending")  # as read before


def test_nothing_is_written_inside_and_nothing_stays_behind() -> None:
    with consistent_read():
        assert connection.in_atomic_block
        with consistent_read():
            assert Account.objects.count() == 0
    assert not connection.in_atomic_block
    AccountFactory()
    assert Account.objects.count() == 1
