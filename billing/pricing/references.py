"""The reference by which the accounting software knows a customer."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce, NullIf

from billing.models import Contract


def customer_reference(day: date, customer: str = "") -> Any:
    """Return an expression: the accounting reference of the contract in force on a day, else the external reference.

    `customer` is the way to the customer from the row that is read, "" for a customer's own row. Of contracts with one
    first day the greatest `n` counts, and after its `valid_until` the customer has none.
    """
    path = f"{customer}__" if customer else ""
    in_force = (
        Contract.objects.filter(customer=OuterRef(f"{path}pk"), published_at__isnull=False, valid_from__lte=day)
        .order_by("-valid_from", "-n")
        .annotate(reference=Case(When(valid_until__lt=day, then=Value("")), default=F("accounting_reference")))
        .values("reference")[:1]
    )
    return Coalesce(NullIf(Subquery(in_force), Value("")), F(f"{path}external_reference"), Value(""))
