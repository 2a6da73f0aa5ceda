"""The customer list as a table: one query for the accounts, read while it is sent, one for the customers without."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.db.models import Case, F, Value, When
from django.utils.translation import gettext as _

from customers.directory.filters import CustomerFilters
from customers.directory.list import Lines
from customers.labels import cap_of
from customers.models.operation import never_made
from portal.state_labels import NOT_CREATED, account_state_text

HEADER = (
    "customer",
    "email",
    "external reference",
    "owner",
    "account ID",
    "connection",
    "state",
    "package",
    "monthly cap",
    "usage",
    "quota",
    "usage updated at",
    "no usage data since",
    "test account",
    "last change",
    "change",
)
AT_ONCE = 2000


def customer_export_rows(filters: CustomerFilters) -> Iterator[list[Any]]:
    """Yield every row of the list as filtered: accounts in its order, then customers without an account."""
    lines = Lines(filters)
    state_text = lru_cache(maxsize=256)(account_state_text)
    not_made = Case(When(never_made(), then=Value(NOT_CREATED)), default=F("state"))
    accounts = (
        lines.ordered()
        .annotate(listed_state=not_made)
        .values_list(
            "customer__company_name",
            "customer__email",
            "customer__external_reference",
            "customer__owner__name",
            "provider_id",
            "connection_id",
            "listed_state",
            "package",
            "settings",
            "desired_settings",
            "usage_used",
            "usage_allowed",
            "usage_read_at",
            "usage_missing_since",
            "is_test",
            "changed_at",
            "changed_what",
        )
    )
    for row in accounts.iterator(chunk_size=AT_ONCE):
        connection = filters.connections[row[5]]
        cap = cap_of(row[8], row[9]) if connection.capabilities.settings else None
        yield [
            *row[:5],
            connection.name,
            state_text(row[6], connection.provider_label),
            row[7],
            _("No cap") if cap == 0 else cap,
            *row[10:],
        ]
    bare = lines.matching.bare.order_by("-changed_at", "-pk")
    facts = bare.values_list("company_name", "email", "external_reference", "owner__name", "changed_at")
    for *who, changed_at in facts.iterator(chunk_size=AT_ONCE):
        yield [*who, *[None] * 10, changed_at, ""]
