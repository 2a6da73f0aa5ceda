"""Columns of the usage export, in order. docs/reference/usage-export.md describes each; a test compares the two.

Each column has its value in Python, for Excel files and SQLite, and its cell in SQL, for CSV files on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Case, Q, When
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing import labels
from billing.models import Status
from billing.money import trimmed_or_none
from billing.reports.filters import UsageFilters
from billing.reports.pool import pool_heads
from billing.reports.queries import ReportRow, ordered_periods, report_lines
from customers.connections.catalogue import offering_label
from portal.csv_cells import AmountCell, DateCell, LabelCell, Line, NumberCell, TextCell, TimeCell, YesNoCell, same_cell
from portal.exports import csv_lines
from portal.providers import UsageSource

# Labels of the packages of a report.
Packages = Mapping[str, str]


class Column(NamedTuple):
    """A column: its heading, its value in a row, and its cell of a `UsagePeriod`, which is given the packages."""

    heading: str | Promise
    value: Callable[[ReportRow], Any]
    cell: Callable[[Packages], Any]


_IS_POOLED = Q(current__source=UsageSource.POOLED)


def _text(name: str) -> Callable[[Packages], Any]:
    return lambda _packages: TextCell(name)


def _number(name: str) -> Callable[[Packages], Any]:
    return lambda _packages: NumberCell(name)


def _day(name: str) -> Callable[[Packages], Any]:
    return lambda _packages: DateCell(name)


COLUMNS = (
    Column(_("Customer"), lambda row: row.company, _text("account__customer__company_name")),
    Column(_("External reference"), lambda row: row.reference, _text("account__customer__external_reference")),
    Column(
        _("Reference missing"),
        lambda row: not row.reference,
        lambda _packages: YesNoCell(Q(account__customer__external_reference="")),
    ),
    Column(_("Account ID"), lambda row: row.provider_id, _text("account__provider_id")),
    Column(_("Connection"), lambda row: row.connection, _text("account__connection__name")),
    Column(
        _("Package"),
        lambda row: offering_label(row.package) if row.package else "",
        lambda packages: LabelCell("package", packages),
    ),
    Column(
        _("Quota (emails)"),
        lambda row: None if row.source == UsageSource.POOLED else row.allowed,
        lambda _packages: Case(When(_IS_POOLED, then=same_cell(None)), default=NumberCell("allowed")),
    ),
    Column(
        _("Account cap in the pool (emails)"),
        lambda row: row.allowed if row.source == UsageSource.POOLED else None,
        lambda _packages: Case(When(_IS_POOLED, then=NumberCell("allowed")), default=same_cell(None)),
    ),
    Column(_("Emails (least)"), lambda row: row.used, _number("used")),
    Column(_("Emails (most)"), lambda row: row.high, _number("high")),
    Column(_("Overage (least)"), lambda row: row.overage, _number("overage")),
    Column(_("Overage (most)"), lambda row: row.overage_high, _number("overage_high")),
    Column(
        _("Status"),
        lambda row: Status(row.status).label,
        lambda _packages: LabelCell("status", dict(Status.choices)),
    ),
    Column(_("Reason code"), lambda row: row.reason, _text("reason")),
    Column(
        _("Reason"),
        lambda row: labels.reason(row.reason),
        lambda _packages: LabelCell("reason", labels.REASONS),
    ),
    Column(_("Billing period start (date)"), lambda row: row.start_on, _day("start_on")),
    Column(_("Billing period end (date, inclusive)"), lambda row: row.end_on, _day("end_on")),
    Column(_("Processing date"), lambda row: row.process_on, _day("current__process_on")),
    Column(
        _("Source"),
        lambda row: labels.source(row.source),
        lambda _packages: LabelCell("current__source", labels.SOURCES),
    ),
    Column(_("As of (UTC)"), lambda row: row.read_at, lambda _packages: TimeCell("read_at")),
    Column(_("Requests (lifetime of the account)"), lambda row: row.requests, _number("current__requests")),
    Column(_("Reputation (0-100)"), lambda row: row.reputation, _number("current__reputation")),
    Column(_("Figure version"), lambda row: row.version, _number("version")),
    Column(_("Ledger batch"), lambda row: row.batch, _number("batch")),
)
MONTH: str | Promise = _("Month")
# For roles that may see cost. The note is in the first row of each connection that has a cost.
COST_COLUMNS = (
    Column(
        _("Allocated cost (share of one invoice, not a price)"),
        lambda row: trimmed_or_none(row.allocated_cost),
        lambda _packages: AmountCell("allocated_cost"),
    ),
    Column(_("Currency"), lambda row: row.currency or None, _text("currency")),
)
NOTE: str | Promise = _("Provider note on allocated cost")


def export_header(filters: UsageFilters) -> list[str]:
    costs = [*(column.heading for column in COST_COLUMNS), NOTE] if filters.with_cost else []
    return [str(text) for text in (MONTH, *(column.heading for column in COLUMNS), *costs)]


def export_rows(filters: UsageFilters) -> Iterator[list[Any]]:
    """Return the values of all rows of the report, in the order of the page."""
    month = f"{filters.month:%Y-%m}"
    notes = _notes(filters)
    for row in report_lines(filters):
        values = [month, *(column.value(row) for column in COLUMNS)]
        if filters.with_cost:
            values += [column.value(row) for column in COST_COLUMNS]
            values.append(notes.pop(row.connection, "") if row.allocated_cost is not None else "")
        yield values


def export_lines(filters: UsageFilters) -> Iterator[str]:
    """Return the lines of a CSV file of `export_rows`. PostgreSQL makes them itself."""
    if connection.vendor != "postgresql":
        yield from csv_lines(export_rows(filters))
        return
    periods = ordered_periods(filters)
    names = periods.order_by().values_list("package", flat=True).distinct()
    packages = {name: offering_label(name) for name in names if name}
    cells = [same_cell(f"{filters.month:%Y-%m}"), *(column.cell(packages) for column in COLUMNS)]
    if filters.with_cost:
        cells += [column.cell(packages) for column in COST_COLUMNS]
        cells.append(_note_cell(filters))
    yield from periods.values_list(Line(*cells), flat=True).iterator(chunk_size=500)


def _notes(filters: UsageFilters) -> dict[str, str]:
    """Return the provider's note of each connection that has one, by its name."""
    heads = pool_heads(filters.month, filters.connection) if filters.with_cost else []
    return {head.connection.name: head.snapshot.note for head in heads}


def _note_cell(filters: UsageFilters) -> Any:
    """Return the cell of the note: in the first row of its connection that has a cost, otherwise empty."""
    costing = ordered_periods(filters).filter(allocated_cost__isnull=False)
    first = {
        costing.filter(account__connection__name=name).values_list("pk", flat=True).first(): note
        for name, note in _notes(filters).items()
    }
    return LabelCell("pk", {pk: note for pk, note in first.items() if pk})
