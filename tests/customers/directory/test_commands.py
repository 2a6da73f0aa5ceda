"""Customers: added once, edited by named facts, archived only when nothing is left at a provider."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from customers.accounts.create import commands as create_commands
from customers.accounts.create.commands import AccountRequest
from customers.directory import commands as customer_commands
from customers.models import Account, Customer, Note, Operation
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.providers import Profile, ProviderOffering
from portal.refusals import Refusal
from tests.support.factories import (
    PACKAGE,
    AccountFactory,
    ConnectionFactory,
    CustomerFactory,
    OperationFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db
FACTS = {
    "company_name": "Larkfield Outdoor", "first_name": "", "last_name": "", "email": "mail@larkfield.example",
    "phone": "", "website": "", "timezone": "", "external_reference": "K-1", "owner": None, "tags": ["key"],
}  # fmt: skip


@pytest.fixture
def person() -> User:
    return UserFactory()


def create(person: User, token: str = "token-0001", **facts: Any) -> Customer:
    return create_commands.create_customer(Command(person, timezone.now(), token=token), facts=FACTS | facts)


def edit(person: User, customer: Customer, **facts: Any) -> list[str]:
    return customer_commands.edit_customer(Command(person, timezone.now()), customer=customer, facts=facts)


def archive(person: User, customer: Customer) -> None:
    customer_commands.archive_customer(Command(person, timezone.now()), customer=customer)


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))


def test_the_same_form_sent_twice_adds_one_customer(person: User) -> None:
    assert create(person) == create(person)
    assert (Customer.objects.count(), verbs()) == (1, ["customer.created"])


def test_another_persons_token_is_another_form(person: User) -> None:
    assert create(person) != create(UserFactory(), external_reference="K-2")


def test_a_reference_stands_once_and_the_refusal_names_the_field(person: User) -> None:
    create(person)
    with pytest.raises(Refusal) as refused:
        create(person, token="token-0002")
    assert refused.value.field == "external_reference"
    assert Customer.objects.count() == 1


def test_many_customers_may_have_no_reference(person: User) -> None:
    create(person, external_reference="")
    create(person, token="token-0002", external_reference="")
    assert Customer.objects.count() == 2


def test_an_edit_writes_and_records_only_what_differs(person: User) -> None:
    customer = create(person)
    assert edit(person, customer, phone="+4930123456", email="mail@larkfield.example", owner=person) == [
        "phone",
        "owner",
    ]
    event = AuditEvent.objects.get(verb="customer.edited")
    assert event.before == {"phone": "", "owner": ""}
    assert event.after == {"phone": "+4930123456", "owner": person.name}


def test_an_edit_of_nothing_leaves_no_trace(person: User) -> None:
    assert edit(person, create(person), phone="") == []
    assert verbs() == ["customer.created"]


def test_an_edit_does_not_touch_what_another_wrote_meanwhile(person: User) -> None:
    customer = create(person)
    edit(person, customer, website="www.larkfield.example")
    edit(person, customer, phone="+4930123456")
    assert Customer.objects.get().website == "www.larkfield.example"


def test_no_fact_that_is_not_a_fact_can_be_written(person: User) -> None:
    with pytest.raises(TypeError, match="archived_at"):
        edit(person, create(person), archived_at=timezone.now())


def test_an_edit_cannot_take_anothers_reference(person: User) -> None:
    create(person)
    other = create(person, token="token-0002", external_reference="K-2")
    with pytest.raises(Refusal) as refused:
        edit(person, other, external_reference="K-1")
    assert refused.value.field == "external_reference"


@pytest.mark.parametrize("state", ["active", "stopped_by_us", "stopped_by_provider", "indeterminate", "unknown"])
def test_a_customer_with_a_living_account_stays_in_the_lists(person: User, state: str) -> None:
    account = AccountFactory(state=state)
    with pytest.raises(Refusal, match="Delete it first"):
        archive(person, account.customer)


def test_a_customer_with_an_unfinished_operation_is_not_archived(person: User) -> None:
    account = AccountFactory(state="banned")
    operation = OperationFactory(account=account, kind="delete")
    with pytest.raises(Refusal, match=f"{operation.code} isn't finished"):
        archive(person, account.customer)


@pytest.mark.parametrize("state", ["deleted", "banned"])
def test_a_customer_whose_accounts_are_gone_can_be_archived(person: User, state: str) -> None:
    customer = AccountFactory(state=state).customer
    archive(person, customer)
    customer.refresh_from_db()
    assert customer.archived_at
    customer_commands.restore_customer(Command(person, timezone.now()), customer=customer)
    customer.refresh_from_db()
    assert customer.archived_at is None
    assert verbs() == ["customer.archived", "customer.restored"]


def test_only_an_open_create_prevents_archiving(person: User) -> None:
    failed = OperationFactory(account=AccountFactory(pending=True), kind="create", state="failed")
    archive(person, failed.account.customer)
    unknown = OperationFactory(account=AccountFactory(pending=True), kind="create", state="unknown")
    with pytest.raises(Refusal):
        archive(person, unknown.account.customer)


def test_archiving_twice_is_recorded_once(person: User) -> None:
    customer = CustomerFactory()
    archive(person, customer)
    archive(person, customer)
    assert verbs() == ["customer.archived"]


def test_a_note_is_kept_with_its_author(person: User) -> None:
    customer_commands.add_note(Command(person), customer=CustomerFactory(), text="  They ring on Mondays. ")
    note = Note.objects.get()
    assert (note.text, note.author) == ("They ring on Mondays.", person)
    assert verbs() == ["note.added"]


def test_an_empty_note_is_refused(person: User) -> None:
    with pytest.raises(Refusal):
        customer_commands.add_note(Command(person), customer=CustomerFactory(), text=" \n ")


def new_account(**changes: Any) -> AccountRequest:
    wanted: dict[str, Any] = {
        "connection": ConnectionFactory(), "profile": Profile(email="mail@larkfield.example"),
        "offerings": [ProviderOffering(PACKAGE, "package", 1)], "is_test": False,
    }  # fmt: skip
    return AccountRequest(**wanted | changes)


def open_customer(
    person: User, account: AccountRequest, token: str = "token-0001"
) -> tuple[Customer, Operation | None]:
    return create_commands.open_customer(Command(person, timezone.now(), token=token), facts=FACTS, account=account)


def test_a_customer_and_its_account_come_together(person: User) -> None:
    customer, operation = open_customer(person, new_account())
    assert operation is not None
    assert (operation.state, operation.account.customer) == ("queued", customer)
    assert verbs() == ["customer.created", "account.create_asked"]


def test_no_customer_is_left_behind_when_the_account_is_refused(person: User) -> None:
    with pytest.raises(Refusal):
        open_customer(person, new_account(connection=ConnectionFactory(paused="person")))
    assert (Customer.objects.count(), Account.objects.count(), verbs()) == (0, 0, [])


def test_the_same_opening_again_gives_the_same_two_back(person: User) -> None:
    account = new_account()
    assert open_customer(person, account) == open_customer(person, account)
    assert (Customer.objects.count(), Account.objects.count(), Operation.objects.count()) == (1, 1, 1)


def add_account(person: User, customer: Customer, account: AccountRequest, **more: Any) -> Operation:
    command = Command(person, token="token-0009", retry_of=more.pop("retry_of", None))
    asked: dict[str, Any] = {"take_over": False} | more
    return create_commands.add_account(command, customer=customer, account=account, **asked)


def test_a_corrected_create_uses_the_same_account_row(person: User) -> None:
    account = AccountFactory(pending=True)
    failed = OperationFactory(account=account, kind="create", state="failed", error_kind="rejected")
    wanted = new_account(
        connection=account.connection, profile=Profile(email="new@larkfield.example", phone="+4930123456")
    )
    operation = add_account(person, account.customer, wanted, retry_of=failed, take_over=True)
    assert (operation.account, operation.retry_of) == (account, failed)
    account.customer.refresh_from_db()
    assert (account.customer.email, account.customer.phone) == ("new@larkfield.example", "+4930123456")


def test_what_is_left_empty_does_not_empty_the_customers_facts(person: User) -> None:
    customer = CustomerFactory(company_name="Halden Optics")
    add_account(person, customer, new_account(), take_over=True)
    customer.refresh_from_db()
    assert customer.company_name == "Halden Optics"


def test_a_correction_on_another_connection_adds_an_account(person: User) -> None:
    account = AccountFactory(pending=True)
    failed = OperationFactory(account=account, kind="create", state="failed")
    assert add_account(person, account.customer, new_account(), retry_of=failed).account != account


def test_an_archived_customer_gets_no_account(person: User) -> None:
    with pytest.raises(Refusal, match="archived"):
        add_account(person, CustomerFactory(archived_at=timezone.now()), new_account())
