"""The brakes on creates hold when many processes create at the same moment, and when an admin sets one meanwhile."""

from __future__ import annotations

from collections import Counter
from multiprocessing import get_context
from time import sleep

import pytest
from django.utils import timezone

from customers.models import Attempt, Connection, Operation
from customers.models.operation_states import OperationState
from customers.operations import create_limits, transitions
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

PROCESSES, BUDGET = 8, 5


def creates(connection: Connection, count: int) -> list[int]:
    person = UserFactory()
    accounts = AccountFactory.create_batch(count, pending=True, connection=connection)
    return [OperationFactory(kind="create", account=each, requested_by=person).pk for each in accounts]


def claimed(pk: int) -> Operation:
    operation = transitions.claim(pk, now=timezone.now())
    assert operation is not None
    return operation


def intend(operation: Operation) -> str:
    try:
        transitions.intend(operation, call="POST", request="{}", now=timezone.now())
    except create_limits.CreateStopped as stop:
        return stop.error_kind
    return "sent"


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
def test_a_budget_of_five_allows_five_of_eight_processes() -> None:
    for _round in rounds():
        rows = creates(ConnectionFactory(creates_per_hour=BUDGET), PROCESSES)

        def work(n: int, rows: list[int] = rows) -> str:
            return intend(claimed(rows[n]))

        assert Counter(together(work, PROCESSES)) == {"sent": BUDGET, "budget": PROCESSES - BUDGET}
        assert Attempt.objects.filter(operation__in=rows).count() == BUDGET


@pytest.mark.proof
@pytest.mark.django_db(transaction=True)
def test_no_paid_account_is_created_after_test_only_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    marks, between = transitions._marks, get_context("fork").Event()

    def slowly() -> dict[str, int]:
        """Between the check of the brake and the commit, as on a slow database: there the brake is set."""
        between.set()
        sleep(0.1)
        return marks()

    monkeypatch.setattr(transitions, "_marks", slowly)
    for _round in rounds():
        between.clear()
        connection = ConnectionFactory()
        rows = creates(connection, 3)

        def work(n: int, rows: list[int] = rows, connection: Connection = connection) -> str:
            if n == 3:
                assert between.wait(30)
                Connection.objects.filter(pk=connection.pk).update(test_accounts_only=True)
                return f"set with {Attempt.objects.filter(operation__in=rows).count()} sent"
            return intend(claimed(rows[n]))

        found = together(work, 4)
        assert set(found) <= {"sent", "test_only", *(f"set with {n} sent" for n in range(4))}
        # Whatever was intended later than the brake would show here: what is sent now is what was sent then.
        said = next(each for each in found if each.startswith("set"))
        assert said == f"set with {found.count('sent')} sent"


@pytest.mark.django_db
def test_the_brakes_are_read_again_with_the_intent() -> None:
    connection = ConnectionFactory(creates_per_hour=1)
    first, second = (claimed(pk) for pk in creates(connection, 2))
    assert [intend(first), intend(second)] == ["sent", "budget"]
    assert Operation.objects.get(pk=second.pk).state == OperationState.CLAIMED, "nothing was written"
    Connection.objects.update(creates_per_hour=50, test_accounts_only=True)
    assert intend(second) == "test_only"
    Operation.objects.filter(pk=second.pk).update(payload=second.payload | {"is_test": True})
    second.refresh_from_db()
    assert intend(second) == "sent"
