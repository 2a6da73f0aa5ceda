"""Months for pages: the list, and one month with its statements, its invoices, and what blocks it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Count, Max, Min, QuerySet
from django.urls import reverse

from billing.closing.blockers.kinds import (
    DIFFERENCE,
    NO_REFERENCE,
    OF_FIGURES,
    UNKNOWN_ACCOUNT,
    BlockerText,
    blocker_text,
)
from billing.closing.blockers.queries import OPEN, open_blockers
from billing.closing.months.stages import Stage, stage_of
from billing.closing.months.up_to_date import checked_months
from billing.closing.runs.commands import review_begins
from billing.closing.runs.statements import open_drafts
from billing.models import Blocker, InvoiceComparison, MonthClosing, Side, Statement
from billing.pricing.statements.amounts import minor_text
from billing.pricing.statements.numbers import billing_terms
from billing.pricing.statements.queries import CurrencySum, sums_by_currency
from billing.usage.periods import month_after
from portal.paging import KeyedRows, LongPage, long_page

MONTHS_A_PAGE, BLOCKERS_A_PAGE = 24, 50


@dataclass(frozen=True, slots=True)
class MonthRow:
    """A month in the list. `totals` are those of closed statements."""

    month: date
    stage: Stage
    review_on: date
    last: MonthClosing | None
    blockers: int
    is_checked: bool
    totals: list[tuple[str, str, int]]


def known_months(*, now: datetime) -> list[date]:
    """Return all months that have statements, up to the current one, the latest first."""
    ends = Statement.objects.aggregate(first=Min("month"), last=Max("month"))
    this = now.astimezone(UTC).date().replace(day=1)
    month, found = min(ends["last"] or this, this), []
    while ends["first"] and month >= ends["first"]:
        found.append(month)
        month = month_after(month, -1)
    return found


def last_closings(months: Iterable[date]) -> dict[date, MonthClosing]:
    rows = MonthClosing.objects.filter(month__in=list(months)).select_related("requested_by").order_by("month", "n")
    return {row.month: row for row in rows}


def month_rows(months: Sequence[date], *, now: datetime) -> list[MonthRow]:
    """Return the rows of these months, in three queries."""
    terms, closings = billing_terms(), last_closings(months)
    counts = Blocker.objects.filter(OPEN, month__in=months).order_by().values_list("month").annotate(Count("pk"))
    open_by_month, checked = dict(counts), checked_months(months)
    return [
        MonthRow(
            month,
            stage_of(review_begins(month, terms), closings.get(month), now=now),
            review_begins(month, terms),
            closings.get(month),
            open_by_month.get(month, 0),
            month in checked or month in closings,
            closed_totals(closings.get(month)),
        )
        for month in months
    ]


def closed_totals(closing: MonthClosing | None) -> list[tuple[str, str, int]]:
    """Return currency, amount and number of the statements that a closing's month has closed by then."""
    found = (closing.totals or {}).get("sell", {}) if closing else {}
    return [
        (code, minor_text(int(each["minor"]), code), int(each["statements"])) for code, each in sorted(found.items())
    ]


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection's month: what the provider invoiced, the cost by our figures, what is billed, and the difference."""

    row: InvoiceComparison
    invoice: str
    cost: str
    billed: list[str]
    difference: str
    accumulated: str
    is_within: bool


def invoiced_connections(month: date) -> list[ConnectionRow]:
    rows = InvoiceComparison.objects.filter(month=month).select_related("connection")
    return [
        ConnectionRow(
            row,
            minor_text(row.invoice_minor, row.currency),
            minor_text(row.cost_minor, row.currency),
            [minor_text(int(minor), code) for code, minor in sorted(row.billed.items())],
            minor_text(row.difference_minor, row.currency, signed=True),
            minor_text(row.accumulated_minor, row.currency, signed=True),
            abs(row.accumulated_minor) <= row.tolerance_minor,
        )
        for row in rows.order_by("connection__name", "currency")
    ]


@dataclass(frozen=True, slots=True)
class StatementCounts:
    """A month's statements of customers: closed, not closed, and their sums by currency."""

    closed: int
    open: int
    sums: list[CurrencySum]


def statement_counts(month: date) -> StatementCounts:
    return _counts(Statement.objects.filter(month=month, side=Side.SELL))


def closing_counts(month: date) -> StatementCounts:
    """Return the counts of the statements that closing the month now would close."""
    found = open_drafts(month).filter(side=Side.SELL).exclude(currency="")
    return _counts(found.exclude(customer__in=open_blockers(month).exclude(customer=None).values("customer")))


def _counts(found: QuerySet[Statement]) -> StatementCounts:
    """Count and sum statements in one query: there are as many as customers."""
    sums = sums_by_currency(found)
    closed = sum(each.closed for each in sums)
    return StatementCounts(closed, sum(each.statements for each in sums) - closed, sums)


@dataclass(frozen=True, slots=True)
class BlockerRow:
    """A blocker as a row: its texts, the amount at stake, whom it concerns, and the page where it is fixed."""

    row: Blocker
    text: BlockerText
    money: str
    whose: Any
    address: str
    accounts: int = 0
    details: list[dict[str, Any]] = field(default_factory=list)


def blocker_page(keys: Any, number: str) -> LongPage:
    related = ("customer", "connection", "account__connection", "owner", "accepted_by")
    return long_page(KeyedRows(keys, Blocker.objects.select_related(*related)), number, BLOCKERS_A_PAGE)


def blocker_rows(blockers: Iterable[Blocker]) -> list[BlockerRow]:
    found = []
    for row in blockers:
        details = row.detail.get("rows", [])
        money = "" if row.money_minor is None or not row.currency else minor_text(abs(row.money_minor), row.currency)
        count = row.detail.get("count", len(details))
        found.append(
            BlockerRow(
                row,
                blocker_text(row.kind),
                money,
                row.customer or row.connection,
                _fixed_on(row, details),
                count,
                details,
            )
        )
    return found


def _fixed_on(row: Blocker, details: Sequence[dict[str, Any]]) -> str:
    """Return the page where such a blocker is fixed."""
    if row.account and row.kind in OF_FIGURES:
        start = next((each["period"]["start"] for each in details if each.get("period")), "")
        return reverse("billing:account-usage", args=[row.account.public_id]) + (f"?cycle={start}" if start else "")
    if row.customer:
        pages = {
            "no_contract": "billing:customer-contracts",
            "no_price_list": "billing:customer-contracts",
            NO_REFERENCE: "customers:edit",
        }
        if row.kind in pages:
            return reverse(pages[row.kind], args=[row.customer.public_id])
    if row.kind == "unpriced":
        return reverse("billing:unpriced")
    if row.connection and row.kind == DIFFERENCE:
        return reverse("billing:invoice-comparison", args=[row.connection.public_id, f"{row.month:%Y-%m}"])
    if row.connection and row.kind in (UNKNOWN_ACCOUNT, "report_differs", "not_final", "no_report"):
        return f"{reverse('billing:pool', args=[row.connection.public_id])}?month={row.month:%Y-%m}"
    if row.account:
        return reverse("billing:account-usage", args=[row.account.public_id])
    return ""
