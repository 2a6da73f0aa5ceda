"""The customer list as a table: one query for the accounts, read while it is sent, one for the customers without.

On PostgreSQL the database makes the lines of the file itself; elsewhere they are made of the rows, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Case, CharField, F, TextField, Value, When
from django.db.models.functions import Cast, Concat
from django.utils.translation import gettext as _

from customers.directory.filters import CustomerFilters
from customers.directory.list import Lines
from customers.labels import cap_of
from customers.models.account import AccountState
from customers.models.operation import never_made
from portal.consistent_reads import streamed_read
from portal.csv_cells import Cell, LabelCell, Line, NumberCell, TextCell, TimeCell, YesNoCell, same_cell
from portal.exports import csv_cell, csv_lines
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
# A state, or that the account was never created.
_LISTED_STATE = Case(When(never_made(), then=Value(NOT_CREATED)), default=F("state"), output_field=CharField())
# Of a customer without an account, before the time and the kind of the last change.
_NO_ACCOUNT: list[Any] = [None] * 10


def customer_export_lines(filters: CustomerFilters) -> Iterator[str]:
    """Yield the lines of the list as filtered."""
    with streamed_read(whole_list=not filters.narrowed and filters.view == "all"):
        if connection.vendor == "postgresql":
            yield from _lines_of_accounts(filters)
            yield from _lines_of_bare_customers(filters)
        else:
            yield from csv_lines(customer_export_rows(filters))


def customer_export_rows(filters: CustomerFilters) -> Iterator[list[Any]]:
    """Yield every row of the list as filtered: accounts in its order, then customers without an account."""
    lines = Lines(filters)
    state_text = lru_cache(maxsize=256)(account_state_text)
    accounts = (
        lines.ordered()
        .annotate(listed_state=_LISTED_STATE)
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
        at = filters.connections[row[5]]
        cap = cap_of(row[8], row[9]) if at.capabilities.settings else None
        yield [
            *row[:5],
            at.name,
            state_text(row[6], at.provider_label),
            row[7],
            _("No cap") if cap == 0 else cap,
            *row[10:],
        ]
    bare = lines.matching.bare.order_by("-changed_at", "-pk")
    facts = bare.values_list("company_name", "email", "external_reference", "owner__name", "changed_at")
    for *who, changed_at in facts.iterator(chunk_size=AT_ONCE):
        yield [*who, *_NO_ACCOUNT, changed_at, ""]


class _CapCell(Cell):
    """The monthly cap of an account's settings, as `customers.labels.cap_of` finds it."""

    def cell_sql(self, *sources: tuple[str, Sequence[Any]]) -> tuple[str, tuple[Any, ...]]:
        (settings, _none), (asked, _none) = sources
        cap = f"coalesce(nullif({settings}, 'null'), {asked}) ->> 'monthly_cap'"
        return f"CASE {cap} WHEN '0' THEN %s ELSE coalesce({cap}, %s) END", (csv_cell(_("No cap")), csv_cell(None))


def _lines_of_accounts(filters: CustomerFilters) -> Iterator[str]:
    at = filters.connections.items()
    states = {
        f"{pk} {state}": account_state_text(state, each.provider_label)
        for pk, each in at
        for state in (*AccountState.values, NOT_CREATED)
    }
    with_settings = filters.connections_that(lambda can: can.settings)
    line = Line(
        *_customer_cells("customer__"),
        TextCell("provider_id"),
        LabelCell("connection_id", {pk: each.name for pk, each in at}),
        LabelCell(Concat(Cast("connection_id", TextField()), Value(" "), _LISTED_STATE), states),
        TextCell("package"),
        Case(
            When(connection__in=with_settings, then=_CapCell("settings", "desired_settings")), default=same_cell(None)
        ),
        NumberCell("usage_used"),
        NumberCell("usage_allowed"),
        TimeCell("usage_read_at"),
        TimeCell("usage_missing_since"),
        YesNoCell("is_test"),
        TimeCell("changed_at"),
        TextCell("changed_what"),
    )
    return Lines(filters).ordered().values_list(line, flat=True).iterator(chunk_size=500)


def _lines_of_bare_customers(filters: CustomerFilters) -> Iterator[str]:
    nothing = [same_cell(value) for value in _NO_ACCOUNT]
    line = Line(*_customer_cells(""), *nothing, TimeCell("changed_at"), same_cell(""))
    bare = Lines(filters).matching.bare.order_by("-changed_at", "-pk")
    return bare.values_list(line, flat=True).iterator(chunk_size=500)


def _customer_cells(of: str) -> list[TextCell]:
    return [TextCell(f"{of}{name}") for name in ("company_name", "email", "external_reference", "owner__name")]
