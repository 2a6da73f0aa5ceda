"""Sums per customer of a month, from the stored roll-ups; where figures are filtered, from the figures themselves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import F, QuerySet
from django.db.models import Sum as Total

from billing.labels import STATUSES
from billing.models import Status, UsagePeriod, UsageRollup
from billing.money import Sum, trimmed
from billing.reports.conditions import customer_condition
from billing.reports.filters import UsageFilters
from billing.usage.rollups import summed
from customers.models import Customer

_SORT_FIELDS = {
    "name": "{}__company_name",
    "reference": "{}__external_reference",
    "figures": "figures_of",
    "used": "sum_used",
    "over": "sum_overage",
}


@dataclass(frozen=True)
class CustomerSums:
    """A customer's figures of the month, added up: `used` to `used + width`, without `endless` ones."""

    customer: Customer
    figures: int
    by_status: list[tuple[str, int]]
    used: int | None
    width: int
    endless: int
    overage: int
    overage_width: int
    costs: list[Sum] = field(default_factory=list)

    @property
    def most(self) -> int | None:
        return None if self.endless or self.used is None else self.used + self.width

    @property
    def most_overage(self) -> int | None:
        return None if self.endless else self.overage + self.overage_width


def sums_by_customer(filters: UsageFilters, narrow: QuerySet[UsagePeriod]) -> tuple[Page[Any], list[CustomerSums]]:
    """Return a page of customers and their sums. `narrow`: the figures that the filters leave."""
    # A search finds accounts by their ID as well, which the roll-ups don't know.
    by_figure = filters.by_figure or bool(filters.q)
    key = "account__customer" if by_figure else "customer"
    found = _of_figures(narrow) if by_figure else _of_rollups(filters)
    page = filters.page_of(Paginator(_ordered(found, key, filters), filters.size))
    rows = list(page.object_list)
    customers = Customer.objects.in_bulk([row[key] for row in rows])
    costs = _costs(filters, narrow, list(customers)) if filters.with_cost else {}
    return page, [_sums(row, customers[row[key]], costs.get(row[key], [])) for row in rows]


def _of_rollups(filters: UsageFilters) -> QuerySet[Any, Any]:
    stored = UsageRollup.objects.filter(customer_condition(filters), month=filters.month)
    if filters.connection:
        stored = stored.filter(connection=filters.connection)
    return stored.values("customer").annotate(
        figures_of=Total("figures"),
        endless_of=Total("endless"),
        **{f"n_{status}": Total(status) for status in Status.values},
        **{f"sum_{name}": Total(name) for name in ("used", "width", "overage", "overage_width")},
    )


def _of_figures(narrow: QuerySet[UsagePeriod]) -> QuerySet[Any, Any]:
    return summed(narrow, "account__customer").annotate(figures_of=F("figures"), endless_of=F("endless"))


def _ordered(found: QuerySet[Any, Any], key: str, filters: UsageFilters) -> QuerySet[Any, Any]:
    column = F(_SORT_FIELDS[filters.sort.removeprefix("-")].format(key))
    return found.order_by(column.desc() if filters.sort.startswith("-") else column.asc(), key)


def _costs(filters: UsageFilters, narrow: QuerySet[UsagePeriod], customers: list[int]) -> dict[int, list[Sum]]:
    """Return the allocated cost of these customers by currency: currencies are never added up."""
    priced = narrow.filter(account__customer__in=customers, allocated_cost__isnull=False)
    costs = defaultdict(list)
    for row in summed(priced, "account__customer", "currency").order_by("currency"):
        costs[row["account__customer"]].append(Sum(row["currency"], trimmed(row["sum_cost"]), row["figures"]))
    return costs


def _sums(row: dict[str, Any], customer: Customer, costs: list[Sum]) -> CustomerSums:
    missing_all = row["n_missing"] == row["figures_of"]
    return CustomerSums(
        customer=customer,
        figures=row["figures_of"],
        by_status=[(name, row[f"n_{name}"]) for name in STATUSES if row[f"n_{name}"]],
        used=None if missing_all else row["sum_used"],
        width=row["sum_width"],
        endless=row["endless_of"],
        overage=row["sum_overage"],
        overage_width=row["sum_overage_width"],
        costs=costs,
    )
