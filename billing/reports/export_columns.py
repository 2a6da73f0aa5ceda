"""Columns of the usage export, in order. docs/reference/usage-export.md describes each; a test compares the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing import labels
from billing.models import Status
from billing.money import trimmed_or_none
from billing.reports.filters import UsageFilters
from billing.reports.pool import pool_heads
from billing.reports.queries import ReportRow, report_lines
from customers.connections.catalogue import offering_label
from portal.providers import UsageSource


class Column(NamedTuple):
    """A column: its heading, and its value in a row."""

    heading: str | Promise
    value: Callable[[ReportRow], Any]


COLUMNS = (
    Column(_("Customer"), lambda row: row.company),
    Column(_("External reference"), lambda row: row.reference),
    Column(_("Reference missing"), lambda row: not row.reference),
    Column(_("Account ID"), lambda row: row.provider_id),
    Column(_("Connection"), lambda row: row.connection),
    Column(_("Package"), lambda row: offering_label(row.package) if row.package else ""),
    Column(_("Quota (emails)"), lambda row: None if row.source == UsageSource.POOLED else row.allowed),
    Column(
        _("Account cap in the pool (emails)"), lambda row: row.allowed if row.source == UsageSource.POOLED else None
    ),
    Column(_("Emails (least)"), lambda row: row.used),
    Column(_("Emails (most)"), lambda row: row.high),
    Column(_("Overage (least)"), lambda row: row.overage),
    Column(_("Overage (most)"), lambda row: row.overage_high),
    Column(_("Status"), lambda row: Status(row.status).label),
    Column(_("Reason code"), lambda row: row.reason),
    Column(_("Reason"), lambda row: labels.reason(row.reason)),
    Column(_("Billing period start (date)"), lambda row: row.start_on),
    Column(_("Billing period end (date, inclusive)"), lambda row: row.end_on),
    Column(_("Processing date"), lambda row: row.process_on),
    Column(_("Source"), lambda row: labels.source(row.source)),
    Column(_("As of (UTC)"), lambda row: row.read_at),
    Column(_("Requests (lifetime of the account)"), lambda row: row.requests),
    Column(_("Reputation (0-100)"), lambda row: row.reputation),
    Column(_("Figure version"), lambda row: row.version),
    Column(_("Ledger batch"), lambda row: row.batch),
)
MONTH: str | Promise = _("Month")
# For roles that may see cost. The note is in the first row of each connection that has a cost.
COST_COLUMNS = (
    Column(_("Allocated cost (share of one invoice, not a price)"), lambda row: trimmed_or_none(row.allocated_cost)),
    Column(_("Currency"), lambda row: row.currency or None),
)
NOTE: str | Promise = _("Provider note on allocated cost")


def export_header(filters: UsageFilters) -> list[str]:
    costs = [*(column.heading for column in COST_COLUMNS), NOTE] if filters.with_cost else []
    return [str(text) for text in (MONTH, *(column.heading for column in COLUMNS), *costs)]


def export_rows(filters: UsageFilters) -> Iterator[list[Any]]:
    """Return the values of all rows of the report, in the order of the page."""
    month = f"{filters.month:%Y-%m}"
    heads = pool_heads(filters.month, filters.connection) if filters.with_cost else []
    notes = {head.connection.name: head.snapshot.note for head in heads}
    for row in report_lines(filters):
        values = [month, *(column.value(row) for column in COLUMNS)]
        if filters.with_cost:
            values += [column.value(row) for column in COST_COLUMNS]
            values.append(notes.pop(row.connection, "") if row.allocated_cost is not None else "")
        yield values
