"""Name and website are unique at a connection, also where two people choose the same at the same moment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from customers.models import Account, Connection, Operation
from customers.operations.commands import request_create, request_settings
from portal.access.models import User
from portal.commands import Command
from portal.providers import AccountSettings, Profile
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


@pytest.fixture
def person() -> User:
    user: User = UserFactory()
    return user


@pytest.fixture
def connection() -> Connection:
    made: Connection = ConnectionFactory(kind="ahasend", base_url="https://api.ahasend.com", account_id=str(uuid4()))
    return made


def an_account(connection: Connection) -> Account:
    name = uuid4().hex[:8]
    settings = asdict(AccountSettings(f"Company {name}", f"{name}.example", 0))
    account: Account = AccountFactory(
        connection=connection, settings=settings, desired_settings=settings, offerings=None, desired_offerings=[],
        package="",
    )  # fmt: skip
    return account


def rename(person: User, account: Account, name: str) -> Operation:
    return request_settings(
        Command(person, timezone.now(), reason="", token=uuid4().hex),
        account=account,
        base=account.settings or {},
        version=account.version,
        changes={"name": f"Company {name}", "website": f"{name}.example"},
    )


def create(person: User, connection: Connection, name: str) -> Operation:
    return request_create(
        Command(person, timezone.now(), token=uuid4().hex),
        customer=CustomerFactory(),
        connection=connection,
        profile=Profile(""),
        offerings=[],
        is_test=False,
        settings=AccountSettings(f"Company {name}", f"{name}.example", 0),
    )


def accepted(work: Any) -> bool:
    try:
        work()
    except Refusal as refusal:
        return "name and website" not in str(refusal)
    return True


def test_two_renames_to_the_same(person: User, connection: Connection) -> None:
    both = []
    for _ in rounds():
        accounts, name = [an_account(connection), an_account(connection)], uuid4().hex[:8]
        told = together(lambda n, a=accounts, x=name: accepted(lambda: rename(person, a[n], x)), 2)
        both += [told] if sorted(told) != [False, True] else []
    assert not both, f"{len(both)} of {len(rounds())}: {both}"


def test_a_rename_and_a_create(person: User, connection: Connection) -> None:
    both = []
    for _ in rounds():
        account, name = an_account(connection), uuid4().hex[:8]
        works = [lambda a=account, x=name: rename(person, a, x), lambda x=name: create(person, connection, x)]
        told = together(lambda n, w=works: accepted(w[n]), 2)
        both += [told] if sorted(told) != [False, True] else []
    assert not both, f"{len(both)} of {len(rounds())}: {both}"
