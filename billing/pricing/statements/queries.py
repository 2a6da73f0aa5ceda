"""Statements for pages and files: a month's list with its sums by currency, and the worklist of findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Case, Count, F, Max, Q, QuerySet, Sum, Value, When, Window
from django.db.models.functions import Coalesce, Greatest, Least, RowNumber
from django.urls import reverse

from billing.models import Side, Statement, StatementFinding
from billing.pricing.statements.amounts import Amount, minor_text
from billing.pricing.statements.filters import StatementFilters
from billing.pricing.statements.labels import FINDINGS, OF_COST, FindingLabel, finding_label
from billing.pricing.statements.numbers import billing_terms, statement_number
from portal.paging import KeyedRows, LongPage, long_page

A_PAGE = 50
LINES_A_PAGE = 100
ACCOUNTS_PER_FINDING = 20
_HIGH = Coalesce(F("total_high_minor"), F("total_minor"))
LEAST, MOST = Least(F("total_minor"), _HIGH), Greatest(F("total_minor"), _HIGH)


@dataclass(frozen=True, slots=True)
class CurrencySum:
    """The statements of one currency together. `exact`, `closed`: how many of them are."""

    amount: Amount
    statements: int
    exact: int
    closed: int

    @property
    def is_exact(self) -> bool:
        return self.exact == self.statements

    @property
    def least_text(self) -> str:
        return self.amount.least_text

    @property
    def most_text(self) -> str:
        return minor_text(self.amount.most or 0, self.amount.currency)


def statement_amount(statement: Statement) -> Amount:
    return Amount(statement.total_minor, statement.currency, statement.total_high_minor, statement.open_ended)


def sums_by_currency(found: QuerySet[Statement]) -> list[CurrencySum]:
    """Return the sums of statements; those without a currency have none. Currencies are never added."""
    rows = (
        found.exclude(currency="")
        .order_by("currency")
        .values("currency")
        .annotate(
            low=Sum(LEAST),
            high=Sum(MOST),
            endless=Count("pk", filter=Q(open_ended=True)),
            n=Count("pk"),
            exact=Count("pk", filter=Q(is_exact=True)),
            closed=Count("pk", filter=Q(state=Statement.State.CLOSED)),
        )
    )
    return [
        CurrencySum(
            Amount(
                row["low"], row["currency"], row["high"] if row["high"] != row["low"] else None, bool(row["endless"])
            ),
            row["n"],
            row["exact"],
            row["closed"],
        )
        for row in rows
    ]


def statement_page(filters: StatementFilters, number: str) -> LongPage:
    """Return one page of the list: its keys along an index first, then these rows."""
    rows = Statement.objects.select_related("customer", "connection").defer("versions")
    return long_page(KeyedRows(filters.ordered(), rows), number, A_PAGE)


def month_counts(filters: StatementFilters) -> dict[str, Any]:
    """Return how many statements of the month, whatever the other filters, need attention; and the last rating."""
    return filters.of_month.aggregate(
        all=Count("pk"),
        inexact=Count("pk", filter=Q(is_exact=False) & ~Q(currency="")),
        without_contract=Count("pk", filter=Q(currency="")),
        closed=Count("pk", filter=Q(state=Statement.State.CLOSED)),
        rated_at=Max("rated_at"),
    )


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A kind of finding in a month, and for an offering without a price that offering."""

    code: str
    side: str
    label: FindingLabel
    offering: str
    accounts: int
    owners: int


def finding_rows(month: date, *, with_cost: bool) -> list[FindingRow]:
    """Return a month's findings by kind and offering, the most urgent first. `owners`: customers affected, on the cost
    side connections."""
    sides = [Side.SELL, Side.COST] if with_cost else [Side.SELL]
    found = StatementFinding.objects.filter(statement__month=month, statement__side__in=sides)
    # On the cost side only what is its own: the rest is a finding of the same figures.
    found = found.exclude(~Q(kind__in=[*OF_COST, "unpriced"]), statement__side=Side.COST)
    offering = Case(When(kind="unpriced", then=F("offering")), default=None)
    rows = (
        found.order_by()
        .annotate(of=offering)
        .values("kind", "of", "statement__side")
        .annotate(
            accounts=Count("account", distinct=True),
            owners=Count(Coalesce("statement__customer", "statement__connection"), distinct=True),
        )
    )
    urgency = {code: n for n, code in enumerate(FINDINGS)}
    listed = [
        FindingRow(
            row["kind"],
            row["statement__side"],
            finding_label(row["kind"]),
            row["of"] or "",
            row["accounts"],
            row["owners"],
        )
        for row in rows
    ]
    return sorted(listed, key=lambda row: (urgency.get(row.code, len(urgency)), -row.accounts, row.offering))


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings of one kind and offering in a statement: their number, the first of them, and where to fix them."""

    label: FindingLabel
    offering: str
    count: int
    shown: list[StatementFinding]
    address: str

    @property
    def more(self) -> int:
        return self.count - len(self.shown)


def finding_groups(statement: Statement) -> list[FindingGroup]:
    """Return the findings of a statement by kind and offering, the most urgent first. Always two queries."""
    urgency = {code: n for n, code in enumerate(FINDINGS)}
    counts = list(statement.findings.order_by().values("kind", "offering").annotate(n=Count("pk")))
    number = Window(RowNumber(), partition_by=[F("kind"), F("offering")], order_by=F("pk").asc())
    first = statement.findings.annotate(n=number).filter(n__lte=Value(ACCOUNTS_PER_FINDING))
    shown: dict[tuple[str, str], list[StatementFinding]] = {}
    for row in first.select_related("account").order_by("pk"):
        shown.setdefault((row.kind, row.offering), []).append(row)
    counts.sort(key=lambda row: (urgency.get(row["kind"], len(urgency)), -row["n"], row["offering"]))
    return [
        FindingGroup(
            finding_label(row["kind"]),
            row["offering"],
            row["n"],
            shown.get((row["kind"], row["offering"]), []),
            _page_for(row["kind"], statement),
        )
        for row in counts
    ]


def _page_for(kind: str, statement: Statement) -> str:
    """Return the page on which such a finding is fixed, "" where that is the account's own."""
    if statement.customer and kind in ("no_contract", "no_price_list"):
        return reverse("billing:customer-contracts", args=[statement.customer.public_id])
    if statement.connection and kind == "no_cost_source":
        return reverse("billing:connection-billing", args=[statement.connection.public_id])
    return reverse("billing:unpriced") if kind == "unpriced" else ""


LIST_HEADER = (
    "month", "customer", "external reference", "currency", "total", "total at most", "amount", "lines", "findings",
    "rated at", "state", "number", "closed at",
)  # fmt: skip
COST_HEADER = (
    "month", "connection", "currency", "total", "total at most", "amount", "lines", "findings", "rated at", "state",
    "number", "closed at",
)  # fmt: skip


def statement_rows(filters: StatementFilters) -> Iterator[Sequence[Any]]:
    """Yield the rows of the list's file."""
    found = filters.ordered().select_related("customer", "connection").defer("versions")
    prefix = billing_terms().number_prefix
    for row in found.iterator(chunk_size=500):
        whose = [row.customer.company_name, row.customer.external_reference] if row.customer else []
        if row.connection:
            whose = [row.connection.name]
        amount = statement_amount(row)
        exactness = "no contract" if not row.currency else "exact" if row.is_exact else "at least"
        yield [
            f"{row.month:%Y-%m}", *whose, row.currency, amount.value, amount.most_value, exactness, row.lines_count,
            row.findings_count, row.rated_at, row.state, statement_number(row.number, prefix), row.closed_at,
        ]  # fmt: skip


LINE_HEADER = (
    "line", "kind", "account", "offering", "package", "from", "until", "days", "of days", "quantity",
    "quantity at most", "rate", "per", "gross", "discount", "amount", "amount at most", "currency", "account code",
    "tax code", "price version", "contract", "adjusts statement", "statement number",
)  # fmt: skip


def line_rows(statement: Statement) -> Iterator[Sequence[Any]]:
    """Yield the rows of a statement's file."""
    number = statement_number(statement.number, billing_terms().number_prefix)
    lines = statement.lines.select_related("account", "price_version", "contract", "adjusts").defer(
        "because", "price_version__prices", "contract__terms", "adjusts__versions"
    )
    for line in lines.order_by("n").iterator(chunk_size=500):
        amount = Amount(line.amount_minor, statement.currency, line.amount_high_minor, line.open_ended)
        gross, discount = (Amount(minor, statement.currency).value for minor in (line.gross_minor, line.discount_minor))
        yield [
            line.n, line.get_kind_display(), (line.account.provider_id or "") if line.account else "", line.offering,
            line.package, line.start_on, line.end_on, line.days, line.of_days, line.quantity, line.quantity_high,
            line.rate.normalize() if line.rate is not None else None, line.per, gross, discount, amount.value,
            amount.most_value, statement.currency, line.account_code, line.tax_code,
            line.price_version.public_id if line.price_version else "",
            line.contract.public_id if line.contract else "", line.adjusts.number if line.adjusts else "", number,
        ]  # fmt: skip
