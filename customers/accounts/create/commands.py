"""Create an account, for a new or an existing customer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest

from customers.directory.commands import FACT_OF_PROFILE, add_customer, edit_customer, public_id_of
from customers.models import Connection, Customer, Operation
from customers.operations.commands import FirstKey, request_create
from customers.operations.request import token_of_follower
from customers.operations.submissions import earlier_submission, submit_once
from portal.access.models import User
from portal.providers import AccountSettings, Profile, ProviderOffering


def create_customer(
    *, actor: User, facts: dict[str, Any], client_token: str, now: datetime, request: HttpRequest | None = None
) -> Customer:
    """Add a customer, or return the one this form added before (also at this very moment)."""
    return open_customer(actor=actor, facts=facts, account=None, client_token=client_token, now=now, request=request)[0]


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


def open_customer(
    *,
    actor: User,
    facts: dict[str, Any],
    account: AccountRequest | None,
    client_token: str,
    now: datetime,
    request: HttpRequest | None = None,
) -> tuple[Customer, Operation | None]:
    """Add a customer and request its first account, both or neither. The same form again returns the same two.

    Raises `UnableToChange` and `UnableToAsk`; then no customer is left behind.
    """
    public_id = public_id_of(actor=actor, client_token=client_token)
    token_of_account = token_of_follower(client_token, "account")
    operation: Operation | None = None

    def make() -> Customer:
        nonlocal operation
        customer = add_customer(public_id, facts, actor=actor, request=request)
        if account:
            operation = request_create(
                actor=actor, customer=customer, connection=account.connection, profile=account.profile,
                offerings=account.offerings, is_test=account.is_test, settings=account.settings,
                first_key=account.first_key, client_token=token_of_account, now=now, request=request,
            )  # fmt: skip
        return customer

    customer = submit_once(
        Customer, actor=actor, client_token=client_token, kind="customer", target=None,
        content={"facts": facts, "account": account}, now=now, make=make,
    )  # fmt: skip
    if account and earlier_submission(customer):
        operation = Operation.objects.get(requested_by=actor, client_token=token_of_account)
    return customer, operation


def add_account(
    *,
    actor: User,
    customer: Customer,
    account: AccountRequest,
    corrects: Operation | None,
    take_over: bool,
    client_token: str,
    now: datetime,
    version: int | None = None,
    request: HttpRequest | None = None,
) -> Operation:
    """Request a further account. `corrects`: the refused create this one replaces, whose account row is used again as
    long as it stays with the same connection; `version` is that account's as the form showed it. `take_over` stores the
    profile on the customer as well. Raises `UnableToAsk` and `UnableToChange`; then nothing changed."""
    with transaction.atomic():
        operation = request_create(
            actor=actor, customer=customer, connection=account.connection, profile=account.profile,
            offerings=account.offerings, is_test=account.is_test, settings=account.settings,
            first_key=account.first_key, client_token=client_token, now=now, request=request, retry_of=corrects,
            version=version, same_form={"take_over": take_over},
        )  # fmt: skip
        if take_over and not earlier_submission(operation):
            facts = {fact: value for part, fact in FACT_OF_PROFILE.items() if (value := getattr(account.profile, part))}
            edit_customer(actor=actor, customer=customer, facts=facts, now=now, request=request)
    return operation
