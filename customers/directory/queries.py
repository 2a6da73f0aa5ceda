"""Queries of the customer page, and customers similar to a new one."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q
from django.db.models.functions import Lower

from customers.directory.list import Key, rows_of
from customers.models import Account, Connection, Customer
from customers.models.account import AccountState
from portal.typed_text import comparable, matches

SHOWN = 5


def customer_page(customer: Customer) -> dict[str, Any]:
    """Return the `rows` of the customer's accounts, and whether it may be archived."""
    found = Account.objects.filter(customer=customer, merged_at=None)
    accounts = found.order_by("-changed_at", "-pk").values_list("pk", "state")
    connections = {each.pk: each for each in Connection.objects.all()}
    keys = [Key(pk, customer.pk) for pk, _state in accounts]
    gone = (AccountState.DELETED, AccountState.BANNED)
    return {"rows": rows_of(keys, connections), "may_archive": all(state in gone for _pk, state in accounts)}


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
