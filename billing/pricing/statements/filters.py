"""Filters of the statement lists, read from the query string."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from billing.models import Side, Statement, StatementFinding
from billing.pricing.statements.labels import EXACTNESS, FINDINGS, OF_COST
from billing.pricing.statements.numbers import billing_terms, number_in
from billing.usage.periods import month_after, month_or_none, month_words
from customers.models import Customer
from portal.filters import Filter, ListFilters, one_of, page_filter, sort_filter
from portal.query_params import searchable

SORTS = ("name", "total")
DEFAULT_SORT = "-total"


def _currency(text: str) -> str | None:
    return text if len(text) == 3 and text.isascii() and text.isalpha() and text.isupper() else None


def _finding_words(code: str) -> str:
    return str(FINDINGS[code].title)


class StatementFilters(ListFilters):
    """Filters of a month's statements of customers. The default month is the one before the current one: its periods
    have ended."""

    side = Side.SELL
    month = Filter(_("Month"), month_or_none, words=month_words)
    currency = Filter(_("Currency"), _currency)
    amount = Filter(_("Amount"), one_of(EXACTNESS), words=EXACTNESS)
    finding = Filter(_("Finding"), one_of(code for code in FINDINGS if code not in OF_COST), words=_finding_words)
    state = Filter(_("State"), one_of(Statement.State.values), words=dict(Statement.State.choices))
    q = Filter(_("Search"), lambda text: searchable(text).lower())
    sort = sort_filter(SORTS, DEFAULT_SORT)
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, now: datetime) -> None:
        self.today: date = now.astimezone(UTC).date()
        super().__init__(query)
        if self.month and self.month > self.latest_month:
            self.refuse("month")
        self.values["month"] = self.month or month_after(self.today.replace(day=1), -1)

    @property
    def latest_month(self) -> date:
        return self.today.replace(day=1)

    @property
    def of_month(self) -> QuerySet[Statement]:
        """All statements of the month, without the other filters."""
        return Statement.objects.filter(side=self.side, month=self.month)

    def narrowed(self) -> QuerySet[Statement]:
        """Return the statements that all filters leave, without an order."""
        found = self.of_month.order_by()
        if self.lists_nothing:
            return found.none()
        if self.currency:
            found = found.filter(currency=self.currency)
        if self.amount:
            found = self._of_amount(found)
        if self.state:
            found = found.filter(state=self.state)
        if self.finding:
            of_statement = StatementFinding.objects.filter(statement=OuterRef("pk"), kind=self.finding)
            found = found.filter(Exists(of_statement))
        return self._searched(found) if self.q else found

    def _of_amount(self, found: QuerySet[Statement]) -> QuerySet[Statement]:
        if self.amount == "no_contract":
            return found.filter(currency="")
        return found.exclude(currency="").filter(is_exact=self.amount == "exact")

    def _searched(self, found: QuerySet[Statement]) -> QuerySet[Statement]:
        matches = Q(customer__in=Customer.objects.filter(search__contains=self.q))
        number = number_in(self.q, billing_terms().number_prefix)
        return found.filter(matches if number is None else matches | Q(number=number))

    def ordered(self) -> QuerySet[Statement]:
        """Return the statements in order: amounts within their currency, because currencies can't be compared."""
        found = self.narrowed()
        orders: dict[str, tuple[str, ...]] = {
            "-total": ("currency", "-total_minor", "-pk"),
            "total": ("currency", "total_minor", "pk"),
            "name": (self._name, "pk"),
            "-name": (f"-{self._name}", "-pk"),
        }
        return found.order_by(*orders[self.sort])

    _name = "customer__company_name"


class CostFilters(StatementFilters):
    """Filters of a month's statements of connections."""

    side = Side.COST
    finding = Filter(_("Finding"), one_of(FINDINGS), words=_finding_words)
    _name = "connection__name"

    def _searched(self, found: QuerySet[Statement]) -> QuerySet[Statement]:
        return found.filter(connection__name__icontains=self.q)


def months_offered(filters: Any, query: Any, *, count: int = 14) -> dict[str, Any]:
    """Return the links to the previous and next month and the month menu; other query parameters stay."""

    def address(month: date) -> str:
        changed = query.copy()
        changed["month"] = f"{month:%Y-%m}"
        changed.pop("page", None)
        return f"?{changed.urlencode()}"

    after = month_after(filters.month)
    offered = [month_after(filters.latest_month, -step) for step in range(count)]
    return {
        "before": address(month_after(filters.month, -1)),
        "after": address(after) if after <= filters.latest_month else "",
        "menu": [(each, address(each), each == filters.month and "month" not in filters.refused) for each in offered],
    }
