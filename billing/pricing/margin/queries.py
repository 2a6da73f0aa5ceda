"""Revenue, cost and margin of a month, of all customers, by customer, by package and by connection.

Currencies are never added. A customer's cost is converted to the currency of its revenue once, as one total per
currency and month; sums of margins are sums of these. Where anything that belongs to a margin is missing, there is no
margin, and `missing` says what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Greatest, Least

from billing.models import ExchangeRate, Side, Statement, StatementFinding, StatementLine
from billing.pricing.margin.exchange import MonthRates
from billing.pricing.rating.currency import half_up
from billing.pricing.statements.amounts import Amount, minor_text
from billing.pricing.statements.results import NOTED
from customers.models import Account, Customer
from customers.models.connection import Connection
from portal.paging import KeyedRows, LongPage, long_page

A_PAGE = 50
_LINE_HIGH = Coalesce(F("amount_high_minor"), F("amount_minor"))
_LINE_SUMS = {
    "low": Sum(Least(F("amount_minor"), _LINE_HIGH)),
    "high": Sum(Greatest(F("amount_minor"), _LINE_HIGH)),
    "endless": Count("pk", filter=Q(open_ended=True)),
}
# What a margin lacks, by code, in the order of the page.
NO_REVENUE, REVENUE, COST, NO_RATE, CURRENCIES = "no_revenue", "revenue", "cost", "no_rate", "currencies"


@dataclass(slots=True)
class MarginRow:
    """One row: revenue and cost by currency, and the margin in `currency` if nothing is `missing`."""

    key: Any
    label: str
    revenue: list[Amount] = field(default_factory=list)
    cost: list[Amount] = field(default_factory=list)
    currency: str = ""
    margin_minor: int | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def margin(self) -> str:
        return "" if self.margin_minor is None else minor_text(self.margin_minor, self.currency)

    @property
    def margin_value(self) -> Decimal | None:
        """The margin as a decimal number, for files."""
        return None if self.margin_minor is None else Amount(self.margin_minor, self.currency).value

    @property
    def percent(self) -> int | None:
        """The margin in percent of the revenue, rounded half up; None without revenue."""
        revenue = sum(each.minor for each in self.revenue if each.currency == self.currency)
        return None if self.margin_minor is None or revenue <= 0 else half_up(self.margin_minor * 100, revenue)


def sell_lines(month: date) -> QuerySet[StatementLine]:
    return StatementLine.objects.filter(statement__month=month, statement__side=Side.SELL)


def cost_lines(month: date) -> QuerySet[StatementLine]:
    return StatementLine.objects.filter(statement__month=month, statement__side=Side.COST)


class CustomerMargins:
    """Margins of some customers in a month, or of all, in the same few queries."""

    def __init__(self, month: date, customers: Collection[int] | None = None) -> None:
        self.month, self.rates = month, MonthRates(month)
        chosen = Q() if customers is None else Q(customer__in=list(customers))
        self.revenue: dict[int | None, list[Amount]] = defaultdict(list)
        self.cost: dict[int | None, list[Amount]] = defaultdict(list)
        self.inexact: set[int] = set()
        statements = Statement.objects.filter(chosen, month=month, side=Side.SELL)
        columns = ("customer", "total_minor", "currency", "total_high_minor", "open_ended", "is_exact")
        for customer, low, currency, high, is_open, is_exact in statements.values_list(*columns):
            if customer is not None and not is_exact:
                self.inexact.add(customer)
            if currency:
                self.revenue[customer].append(Amount(low, currency, high, is_open))
        rows = cost_lines(month).filter(chosen).order_by().values("customer", "statement__currency")
        for row in rows.annotate(**_LINE_SUMS):
            self.cost[row["customer"]].append(_amount(row, row["statement__currency"]))
        self.without_cost = set(customers_without_cost(month, customers))

    def row(self, customer: int | None, label: str) -> MarginRow:
        revenue, cost = self.revenue.get(customer, []), self.cost.get(customer, [])
        found = MarginRow(customer, label, revenue, cost)
        if customer is None:
            return found
        if customer in self.inexact or any(not each.is_exact for each in revenue):
            found.missing.append(REVENUE)
        if not revenue and customer not in self.inexact:
            found.missing.append(NO_REVENUE)
        if customer in self.without_cost or any(not each.is_exact for each in cost):
            found.missing.append(COST)
        return self._with_margin(found)

    def _with_margin(self, row: MarginRow) -> MarginRow:
        """Add the margin, in the currency of the revenue. With several, what was earned in each can't be told apart."""
        if row.missing:
            return row
        if len(row.revenue) > 1:
            row.missing.append(CURRENCIES)
            return row
        (revenue,) = row.revenue
        costs = [self.rates.convert(each.minor, each.currency, revenue.currency) for each in row.cost]
        if None in costs:
            row.missing.append(NO_RATE)
            return row
        row.currency = revenue.currency
        row.margin_minor = revenue.minor - sum(each for each in costs if each is not None)
        return row

    def total(self) -> MonthMargin:
        found = MonthMargin(self.month)
        for customer in self.revenue.keys() | self.cost.keys() | self.inexact | self.without_cost:
            if customer is None:
                continue
            found.add(self.row(customer, ""))
        found.unallocated = self.cost.get(None, [])
        return found


@dataclass(slots=True)
class MonthMargin:
    """A month together. `margins`: sums of the customers whose margin is known, by currency. `missing`: the number of
    customers by what their margin lacks. `unallocated`: cost that belongs to no customer."""

    month: date
    customers: int = 0
    known: int = 0
    revenue: dict[str, Amount] = field(default_factory=dict)
    cost: dict[str, Amount] = field(default_factory=dict)
    margins: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    unallocated: list[Amount] = field(default_factory=list)

    def add(self, row: MarginRow) -> None:
        self.customers += 1
        for sums, amounts in ((self.revenue, row.revenue), (self.cost, row.cost)):
            for amount in amounts:
                known = sums.get(amount.currency)
                sums[amount.currency] = known + amount if known else amount
        if row.margin_minor is not None:
            self.known += 1
            self.margins[row.currency] = self.margins.get(row.currency, 0) + row.margin_minor
        for code in row.missing:
            self.missing[code] = self.missing.get(code, 0) + 1

    @property
    def all_cost(self) -> list[Amount]:
        """The cost by currency, also of no customer."""
        sums = dict(self.cost)
        for amount in self.unallocated:
            known = sums.get(amount.currency)
            sums[amount.currency] = known + amount if known else amount
        return list(sums.values())

    @property
    def is_complete(self) -> bool:
        return self.known == self.customers and not self.unallocated

    @property
    def margin_texts(self) -> list[str]:
        return [minor_text(minor, currency) for currency, minor in sorted(self.margins.items())]


def connections_with_cost(month: date) -> QuerySet[Statement, int | None]:
    """Return the connections (pk) of which a cost was rated, and of which no finding concerns the whole cost."""
    statements = Statement.objects.filter(month=month, side=Side.COST).exclude(currency="")
    of_all = StatementFinding.objects.filter(statement__month=month, account=None).exclude(kind__in=NOTED)
    return statements.exclude(pk__in=of_all.values("statement")).values_list("connection", flat=True)


def customers_without_cost(month: date, customers: Collection[int] | None = None) -> Iterable[int]:
    """Return customers of whose accounts some have no known cost in the month: a finding says so, or the connection has
    no complete cost."""
    statements = Statement.objects.filter(month=month, side=Side.COST)
    rated = connections_with_cost(month)
    findings = StatementFinding.objects.filter(statement__in=statements, account__isnull=False).exclude(kind__in=NOTED)
    billed = Account.objects.filter(usage_periods__month=month, duplicate_of=None)
    found = Account.objects.filter(
        Q(pk__in=findings.values("account")) | Q(pk__in=billed.exclude(connection__in=rated).values("pk"))
    )
    if customers is not None:
        found = found.filter(customer__in=list(customers))
    return found.order_by().values_list("customer", flat=True).distinct()


def _amount(row: Mapping[str, Any], currency: str) -> Amount:
    return Amount(row["low"], currency, row["high"] if row["high"] != row["low"] else None, bool(row["endless"]))


def customer_margin_page(month: date, *, q: str, sort: str, number: str) -> tuple[LongPage, list[MarginRow]]:
    """Return a page of customers with revenue or cost in the month, by name or by revenue."""
    statements = Statement.objects.filter(month=month, side=Side.SELL)
    found = Customer.objects.filter(
        Q(pk__in=statements.values("customer")) | Q(pk__in=cost_lines(month).values("customer"))
    )
    if q:
        found = found.filter(search__contains=q)
    found = found.order_by("-company_name" if sort == "-name" else "company_name", "pk")
    page = long_page(KeyedRows(found, Customer.objects.all()), number, A_PAGE)
    margins = CustomerMargins(month, [each.pk for each in page])
    return page, [margins.row(each.pk, str(each)) for each in page]


def all_customers(month: date, *, q: str = "") -> Iterable[tuple[Customer, MarginRow]]:
    """Yield every customer with revenue or cost, for a file."""
    margins = CustomerMargins(month)
    wanted = {pk for pk in margins.revenue.keys() | margins.cost.keys() if pk is not None}
    found = Customer.objects.order_by("company_name", "pk")
    if q:
        found = found.filter(search__contains=q)
    for customer in found.iterator(chunk_size=2_000):
        if customer.pk in wanted:
            yield customer, margins.row(customer.pk, str(customer))


def grouped_rows(month: date, by: str) -> list[MarginRow]:
    """Return rows by `package` or `connection`. A margin needs revenue and cost in one currency: a part of a customer's
    total is never converted."""
    rows: dict[Any, MarginRow] = {}
    names = dict(Connection.objects.values_list("pk", "name")) if by == "connection" else {}
    inexact = _inexact(month, by)
    for side, lines in ((Side.SELL, sell_lines(month)), (Side.COST, cost_lines(month))):
        found = lines.order_by().values(by, "statement__currency").annotate(**_LINE_SUMS)
        for each in found:
            key = each[by]
            row = rows.setdefault(key, MarginRow(key, str(names.get(key, key or ""))))
            amounts = row.revenue if side == Side.SELL else row.cost
            amounts.append(_amount(each, each["statement__currency"]))
    for row in rows.values():
        _add_margin(row, inexact.get(row.key, set()))
    return sorted(rows.values(), key=lambda row: (-max((each.minor for each in row.revenue), default=0), row.label))


def _inexact(month: date, by: str) -> dict[Any, set[str]]:
    """Return what is incomplete, by package or connection: a side with a finding about an account of it."""
    column = "account__connection" if by == "connection" else "account__package"
    findings = StatementFinding.objects.filter(statement__month=month, account__isnull=False).exclude(kind__in=NOTED)
    # The account may have another package by now, or had several in the month: those of its lines count as well.
    same = findings.filter(statement=OuterRef("statement"), account=OuterRef("account"))
    lines = StatementLine.objects.filter(Exists(same), statement__month=month)
    found: dict[Any, set[str]] = defaultdict(set)
    for rows, key in ((findings, column), (lines, by)):
        for value, side in rows.order_by().values_list(key, "statement__side").distinct():
            found[value].add(REVENUE if side == Side.SELL else COST)
    without = sell_lines(month).exclude(connection=None).exclude(connection__in=connections_with_cost(month))
    for key in without.order_by().values_list(by, flat=True).distinct():
        found[key].add(COST)
    return found


def _add_margin(row: MarginRow, inexact: set[str]) -> None:
    row.missing = sorted(inexact | {REVENUE for each in row.revenue if not each.is_exact})
    if any(not each.is_exact for each in row.cost) and COST not in row.missing:
        row.missing.append(COST)
    currencies = {each.currency for each in (*row.revenue, *row.cost)}
    if not row.revenue:
        row.missing.append(NO_REVENUE)
    elif len(currencies) > 1:
        row.missing.append(CURRENCIES)
    if not row.cost and COST not in row.missing:
        row.missing.append(COST)
    if not row.missing:
        row.currency = row.revenue[0].currency
        row.margin_minor = sum(each.minor for each in row.revenue) - sum(each.minor for each in row.cost)


def month_stamp(month: date) -> str:
    """Return what changes whenever the month's margin may have changed."""
    rated = Statement.objects.filter(month=month).aggregate(at=Max("rated_at"), n=Count("pk"))
    rates = ExchangeRate.objects.aggregate(last=Max("pk"))["last"]
    return f"{rated['at']} {rated['n']} {rates}"


def months_with_statements(limit: int) -> Sequence[date]:
    rows = Statement.objects.order_by("-month").values_list("month", flat=True).distinct()
    return list(rows[:limit])
