"""Queries of the customer page, and customers similar to a new one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Q
from django.db.models.functions import Lower

from customers.directory.list import CustomerRow, Key, rows_of
from customers.models import Account, Connection, Customer
from customers.models.account import AccountState

SHOWN = 5


@dataclass(frozen=True)
class CustomerPage:
    customer: Customer
    rows: list[CustomerRow]
    living: int

    @property
    def may_archive(self) -> bool:
        return self.living == 0


def customer_page(public_id: uuid.UUID) -> CustomerPage:
    """Return the customer page's data. Raises `Customer.DoesNotExist`."""
    customer = Customer.objects.select_related("owner").get(public_id=public_id)
    found = Account.objects.filter(customer=customer, merged_at=None)
    accounts = found.order_by("-changed_at", "-pk").values_list("pk", "state")
    connections = {each.pk: each for each in Connection.objects.all()}
    keys = [Key(pk, customer.pk) for pk, _state in accounts]
    gone = (AccountState.DELETED, AccountState.BANNED)
    return CustomerPage(customer, rows_of(keys, connections), sum(state not in gone for _pk, state in accounts))


def lookalikes(*, email: str, company_name: str, besides: uuid.UUID | None = None) -> list[Customer]:
    """Return customers with the same email or company name, ignoring case, archived ones too."""
    wanted = Q(pk__in=[])
    if email := email.strip().lower():
        wanted |= Q(lower_email=email)
    if company := " ".join(company_name.split()).lower():
        wanted |= Q(lower_company=company)
    found = Customer.objects.alias(lower_email=Lower("email"), lower_company=Lower("company_name")).filter(wanted)
    if besides:
        found = found.exclude(public_id=besides)
    return list(found.select_related("owner").order_by("archived_at", "pk")[:SHOWN])
