"""Queries of the customer page, and customers similar to a new one."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q
from django.db.models.functions import Lower

from customers.directory.list import CustomerRow, Key, rows_of
from customers.models import Account, Connection, Customer
from customers.models.account import AccountState
from portal.paging import COUNTED, long_page
from portal.typed_text import comparable, matches

SHOWN = 5
ACCOUNTS_A_PAGE = 50


class _Accounts:
    """A customer's accounts, the last changed first, as a paginator needs them."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.found = Account.objects.order_by().filter(customer=customer, merged_at=None)

    def count(self) -> int:
        return self.found[: COUNTED + 1].count()

    def __getitem__(self, part: slice) -> list[CustomerRow]:
        keys = self.found.order_by("-changed_at", "-pk").values_list("pk", flat=True)[part]
        return rows_of([Key(pk, self.customer.pk) for pk in keys], Connection.objects.in_bulk())


def customer_page(customer: Customer, number: str) -> dict[str, Any]:
    """Return a `page` of the customer's accounts, and whether it may be archived."""
    accounts = _Accounts(customer)
    living = accounts.found.exclude(state__in=(AccountState.DELETED, AccountState.BANNED))
    return {"page": long_page(accounts, number, ACCOUNTS_A_PAGE), "may_archive": not living.exists()}


def lookalikes(*, email: str, company_name: str, besides: uuid.UUID | None = None) -> list[Customer]:
    """Return customers with the same email or company name, ignoring case, archived ones too."""
    wanted = Q(pk__in=[])
    if email := email.strip().lower():
        wanted |= matches("lower_email", email)
    if company := comparable(company_name).lower():
        wanted |= matches("lower_company", company)
    found = Customer.objects.alias(lower_email=Lower("email"), lower_company=Lower("company_name")).filter(wanted)
    if besides:
        found = found.exclude(public_id=besides)
    return list(found.select_related("owner").order_by("archived_at", "pk")[:SHOWN])
