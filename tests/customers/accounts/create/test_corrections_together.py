"""One refused create is corrected by two people, or in two tabs, at the same moment: one of them is accepted."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Account, Connection, Operation
from tests.customers.page_helpers import fields, prose_of
from tests.support.factories import (
    PACKAGE,
    AccountFactory,
    ConnectionFactory,
    OfferingFactory,
    OperationFactory,
    UserFactory,
)
from tests.support.people import sign_in
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.fixture
def connection() -> Connection:
    made: Connection = ConnectionFactory()
    OfferingFactory(connection=made, name=PACKAGE)
    return made


@pytest.fixture
def desks() -> list[Client]:
    return [sign_in(Client(), UserFactory(name=f"Success lead {n}")) for n in range(2)]


def refused_create(connection: Connection) -> Operation:
    account = AccountFactory(pending=True, connection=connection)
    failed: Operation = OperationFactory(account=account, kind="create", state="failed", error_kind="rejected")
    return failed


def corrections(desks: list[Client], failed: Operation, connections: list[Connection]) -> list[tuple[int, str]]:
    """Both open the form, then both send it at the same moment, each with another address."""
    address = reverse("customers:account-create", args=[failed.account.customer.public_id])
    shown = [fields(desk.get(f"{address}?from={failed.public_id}")) for desk in desks]

    def send(n: int) -> tuple[int, str]:
        typed: dict[str, Any] = {"connection": connections[n].public_id, "package": PACKAGE,
                                 "email": f"{uuid4().hex[:8]}@larkfield.example"}  # fmt: skip
        answer = desks[n].post(address, shown[n] | typed)
        kept = answer.status_code == 303 or typed["email"] in answer.content.decode()
        assert kept, "what was typed is gone"
        return answer.status_code, prose_of(answer)

    answers: list[tuple[int, str]] = together(send, 2)
    return answers


def test_two_corrections_at_once(desks: list[Client], connection: Connection) -> None:
    both = []
    for _ in rounds():
        failed = refused_create(connection)
        answers = corrections(desks, failed, [connection, connection])
        created = Operation.objects.filter(account=failed.account, kind="create").exclude(pk=failed.pk)
        if created.count() != 1 or sorted(status for status, _text in answers) != [303, 422]:
            both.append(answers)
            continue
        said = next(text for status, text in answers if status == 422)
        assert created.get().code in said
        assert "already retried this account creation" in said
        account = Account.objects.get(pk=failed.account_id)
        assert account.email == created.get().payload["profile"]["email"]
    assert not both, f"{len(both)} of {len(rounds())}"


def test_two_corrections_at_two_connections(desks: list[Client], connection: Connection) -> None:
    """A correction at another connection asks for another account: two of them would be two paid accounts."""
    other = ConnectionFactory()
    OfferingFactory(connection=other, name=PACKAGE)
    both = []
    for _ in rounds():
        failed = refused_create(connection)
        answers = corrections(desks, failed, [connection, other])
        created = Operation.objects.filter(account__customer=failed.account.customer).exclude(pk=failed.pk)
        if created.count() != 1 or sorted(status for status, _text in answers) != [303, 422]:
            both.append(answers)
    assert not both, f"{len(both)} of {len(rounds())}"


def test_two_retries_at_once(desks: list[Client], connection: Connection) -> None:
    both = []
    for _ in rounds():
        failed = refused_create(connection)
        address = reverse("customers:operation-retry", args=[failed.public_id])
        together(lambda n, at=address: desks[n].post(at, {"client_token": uuid4().hex}).status_code, 2)
        if (n := Operation.objects.filter(account=failed.account).exclude(pk=failed.pk).count()) != 1:
            both.append(n)
    assert not both, f"{len(both)} of {len(rounds())}"
