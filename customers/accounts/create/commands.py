"""Create an account, for a new or an existing customer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from customers.directory.commands import FACT_OF_PROFILE, add_customer, edit_customer, public_id_of
from customers.models import Connection, Customer, Operation
from customers.operations.commands import FirstKey, request_create
from customers.operations.request import token_of_follower
from customers.operations.submissions import earlier_submission, submit_once
from portal.commands import Command
from portal.providers import AccountSettings, Profile, ProviderOffering


def create_customer(command: Command, *, facts: dict[str, Any]) -> Customer:
    """Add a customer, or return the one this form added before (also at this very moment)."""
    return open_customer(command, facts=facts, account=None)[0]


@dataclass(frozen=True)
class AccountRequest:
    """The account to request: with offerings or with settings, as the connection's provider has it, and where it has
    keys, with the first of them. `profile` has at least the email, also where none of it is sent."""

    connection: Connection
    profile: Profile
    offerings: list[ProviderOffering]
    is_test: bool
    settings: AccountSettings | None = None
    first_key: FirstKey | None = None

    def ask(self, command: Command, customer: Customer, **more: Any) -> Operation:
        """Request it for the customer. `more`: as of `request_create`."""
        return request_create(
            command,
            customer=customer,
            connection=self.connection,
            profile=self.profile,
            offerings=self.offerings,
            is_test=self.is_test,
            settings=self.settings,
            first_key=self.first_key,
            **more,
        )


def open_customer(
    command: Command, *, facts: dict[str, Any], account: AccountRequest | None
) -> tuple[Customer, Operation | None]:
    """Add a customer and request its first account, both or neither. The same form again returns the same two.

    Raises `Refusal`; then no customer is left behind.
    """
    public_id = public_id_of(actor=command.person, client_token=command.token)
    token_of_account = token_of_follower(command.token, "account")
    operation: Operation | None = None

    def make() -> Customer:
        nonlocal operation
        customer = add_customer(command, public_id, facts)
        if account:
            operation = account.ask(replace(command, token=token_of_account), customer)
        return customer

    customer = submit_once(
        command, Customer, kind="customer", target=None, content={"facts": facts, "account": account}, make=make
    )
    if account and earlier_submission(customer):
        operation = Operation.objects.get(requested_by=command.person, client_token=token_of_account)
    return customer, operation


def add_account(
    command: Command,
    *,
    customer: Customer,
    account: AccountRequest,
    take_over: bool,
    version: int | None = None,
) -> Operation:
    """Request a further account. The row of the refused create that the command tries again is used again as long as it
    stays with the same connection; `version` is that account's as the form showed it. `take_over` stores the profile on
    the customer as well. Raises `Refusal`; then nothing changed."""
    with transaction.atomic():
        operation = account.ask(command, customer, version=version, same_form={"take_over": take_over})
        if take_over and not earlier_submission(operation):
            facts = {fact: value for part, fact in FACT_OF_PROFILE.items() if (value := getattr(account.profile, part))}
            edit_customer(command, customer=customer, facts=facts)
    return operation
