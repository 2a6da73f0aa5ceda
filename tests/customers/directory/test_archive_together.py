"""A customer is archived at the moment an account comes to it, in several processes: one of the two is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import responses
from django.utils import timezone

from customers.accounts.create import commands as create_commands
from customers.accounts.create.commands import AccountRequest
from customers.connections.client import client_for
from customers.directory import commands as customer_commands
from customers.models import Account, AccountImportItem, Connection, Customer, RemoteAccount
from customers.observed import duplicates
from customers.operations.commands import cancel_operation, retry_operation
from customers.reconcile import account_import as account_imports
from customers.reconcile import import_list
from customers.reconcile.link import link_account
from portal.access.models import User
from portal.commands import Command
from portal.providers import Profile, ProviderOffering
from portal.refusals import Refusal
from tests.support.factories import PACKAGE, AccountFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
REFUSALS = Refusal
API = "https://api.sendgrid.com/v3/partners/accounts"
Work = Callable[[], Any]


@pytest.fixture
def person() -> User:
    user: User = UserFactory(role="admin")
    return user


def an_account(connection: Connection, email: str = "") -> AccountRequest:
    address = email or f"{uuid4().hex[:8]}@larkfield.example"
    return AccountRequest(connection, Profile(address), [ProviderOffering(PACKAGE, "package", 1)], is_test=False)


def a_remote_account(connection: Connection) -> RemoteAccount:
    """An account at the provider that is nobody's; the provider is stubbed at the wire."""
    now = timezone.now()
    provider_id = f"sg{uuid4().hex}"
    responses.get(f"{API}/{provider_id}/state", json={"state": "activated"})
    responses.get(f"{API}/{provider_id}/offerings", json={"offerings": [
        {"name": PACKAGE, "type": "package", "quantity": 1}]})  # fmt: skip
    return RemoteAccount.objects.create(
        connection=connection, provider_id=provider_id, first_seen_at=now, last_seen_at=now,
        email=f"{provider_id[:8]}@orphan.example",
    )  # fmt: skip


def settled(work: Work) -> Callable[[], str]:
    def run() -> str:
        try:
            work()
        except REFUSALS as refusal:
            return f"refused: {refusal}"
        return "done"

    return run


def living(customer: Customer) -> bool:
    """Whether the customer is archived and has, or may come to have, an account that exists."""
    customer.refresh_from_db()
    accounts = Account.objects.filter(customer=customer, merged_at=None).exclude(state__in=customer_commands.GONE)
    return (
        customer.archived_at is not None and accounts.exclude(pk__in=customer_commands._never_made(customer)).exists()
    )


def race(person: User, customer: Customer, other: Work) -> list[str]:
    """Archive against `other`. Both may be refused, not both done."""
    now = timezone.now()
    works = [
        settled(lambda: customer_commands.archive_customer(Command(person, now), customer=customer)),
        settled(other),
    ]
    told: list[str] = together(lambda n: works[n](), 2)
    assert all(each == "done" or each.startswith("refused: ") for each in told), told
    return told


def test_a_create(person: User) -> None:
    connection = AccountFactory().connection
    broken = []
    for _ in rounds():
        customer = CustomerFactory()
        new = an_account(connection)
        command = Command(person, token=uuid4().hex)
        add = partial(create_commands.add_account, command, customer=customer, account=new)
        told = race(person, customer, partial(add, take_over=False))
        broken += [told] if living(customer) else []
    assert not broken, f"{len(broken)} of {len(rounds())}"


def test_a_retry_of_a_failed_create(person: User) -> None:
    broken = []
    for _ in rounds():
        failed = OperationFactory(account=AccountFactory(pending=True), kind="create", state="failed", reason="")
        customer = failed.account.customer
        command = Command(person, token=uuid4().hex)
        told = race(person, customer, partial(retry_operation, command, operation=failed))
        broken += [told] if living(customer) else []
    assert not broken, f"{len(broken)} of {len(rounds())}"


@responses.activate
def test_a_link_of_an_unlinked_account(person: User) -> None:
    connection = AccountFactory().connection
    broken = []
    for _ in rounds():
        customer, remote_account = CustomerFactory(), a_remote_account(connection)
        provider = client_for(connection)
        told = race(
            person,
            customer,
            lambda c=customer, s=remote_account, p=provider: link_account(
                Command(person, timezone.now(), reason="Theirs."), remote_account=s, customer=c, provider=p
            ),
        )
        broken += [told] if living(customer) else []
    assert not broken, f"{len(broken)} of {len(rounds())}"


@responses.activate
def test_an_import(person: User) -> None:
    connection = AccountFactory().connection
    broken = []
    for _ in rounds():
        customer, remote_account = CustomerFactory(), a_remote_account(connection)
        listed = [import_list.ImportRow(remote_account.provider_id, email=customer.email)]
        run = account_imports.propose_import(Command(person, timezone.now()), connection=connection, listed=listed)
        account_imports.start_import(Command(person, timezone.now()), account_import=run)
        told = race(person, customer, lambda r=run: account_imports.import_chunk(r.pk, connect=client_for))
        run.refresh_from_db()
        item = AccountImportItem.objects.get(account_import=run)
        assert run.state == "ended"
        assert item.state in ("done", "failed")
        broken += [told] if living(customer) else []
        run.delete()  # the next round proposes what is unlinked then
        RemoteAccount.objects.all().delete()
    assert not broken, f"{len(broken)} of {len(rounds())}"


def test_a_merge_of_duplicates(person: User) -> None:
    broken = []
    for _ in rounds():
        kept = AccountFactory()
        twin = AccountFactory(provider_id=kept.provider_id, duplicate_of=kept, state="deleted")
        told = race(
            person,
            twin.customer,
            lambda t=twin: duplicates.merge(
                Command(person, timezone.now(), reason="Theirs."), duplicate=t, customer=t.customer
            ),
        )
        broken += [told] if living(twin.customer) else []
    assert not broken, f"{len(broken)} of {len(rounds())}"


def test_a_cancelled_create_leaves_nothing_behind(person: User) -> None:
    """The other way round: what keeps a customer from being archived goes away at the same moment."""
    for _ in rounds():
        operation = OperationFactory(account=AccountFactory(pending=True), kind="create")
        customer = operation.account.customer
        race(person, customer, lambda o=operation: cancel_operation(Command(person, timezone.now()), operation=o))
        assert not living(customer)
