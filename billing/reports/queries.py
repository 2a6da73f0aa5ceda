"""Usage report of a month: one row per account and billing period that ends in it, also where the figure is missing.

Totals come from the stored sums of the month; where rows are filtered, the database adds them up. The number of queries
does not depend on the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Max, Min, Q, QuerySet

from billing.models import MOST_USED, MonthTotal, Status, UsagePeriod
from billing.money import Sum, trimmed, trimmed_or_none
from billing.reports.filters import UsageFilters
from billing.reports.month_chart import months_chart
from billing.reports.pool import PoolHead, pool_heads
from billing.usage.rollups import SUMS, sums_of
from portal.typed_text import matches

_SORT_FIELDS = {
    "name": "account__customer__company_name",
    "reference": "account__customer__external_reference",
    "package": "package",
    "allowed": "allowed",
    "used": "used",
    "over": "overage",
    "end": "end_on",
    "status": "status",
    "read": "read_at",
    "share": "allocated_cost",
}


class ReportRow(NamedTuple):
    """One figure as the database returns it; `used` is None where it is missing."""

    account: UUID
    customer: UUID
    company: str
    reference: str
    provider_id: str
    connection: str
    kind: str
    state: str
    settings: dict[str, Any] | None
    start_on: date
    end_on: date
    inferred: bool
    status: str
    reason: str
    used: int | None
    high: int | None
    allowed: int | None
    overage: int | None
    overage_high: int | None
    package: str
    read_at: datetime | None
    next_seen_at: datetime | None
    source: str | None
    requests: int | None
    remaining: int | None
    reputation: Decimal | None
    process_on: date | None
    allocated_cost: Decimal | None
    currency: str
    version: int
    batch: int

    @property
    def share(self) -> Decimal | None:
        return trimmed_or_none(self.allocated_cost)

    @property
    def is_exact(self) -> bool:
        return self.used is not None and self.high == self.used

    @property
    def has_no_cap(self) -> bool:
        """True if the account is known to have no cap, as opposed to a cap that was not read."""
        return (self.settings or {}).get("monthly_cap") == 0


# The column of each field of a `ReportRow`.
_COLUMNS = {
    "account": "account__public_id",
    "customer": "account__customer__public_id",
    "company": "account__customer__company_name",
    "reference": "account__customer__external_reference",
    "provider_id": "account__provider_id",
    "connection": "account__connection__name",
    "kind": "account__connection__kind",
    "state": "account__state",
    "settings": "account__settings",
    "source": "current__source",
    "requests": "current__requests",
    "remaining": "current__remaining",
    "reputation": "current__reputation",
    "process_on": "current__process_on",
}
_FIELDS = tuple(_COLUMNS.get(name, name) for name in ReportRow._fields)


@dataclass(frozen=True)
class Totals:
    """Sums of a set of figures. `used` to `used + width` emails, without those of `endless` figures that have no known
    most; open figures count as read so far."""

    figures: int = 0
    final: int = 0
    derived: int = 0
    interval: int = 0
    open: int = 0
    stale: int = 0
    missing: int = 0
    disputed: int = 0
    used: int = 0
    width: int = 0
    endless: int = 0
    overage: int = 0
    overage_width: int = 0
    over_customers: int = 0
    oldest_at: datetime | None = None
    newest_at: datetime | None = None

    @property
    def read(self) -> int:
        return self.figures - self.missing

    @property
    def at_least(self) -> bool:
        """True if the sums are certainly incomplete: a figure is missing, or nothing limits it."""
        return bool(self.missing or self.endless)

    @property
    def is_exact(self) -> bool:
        return not self.at_least and not self.width and not (self.open or self.stale or self.disputed)

    def by_status(self) -> list[tuple[Status, int]]:
        """Return each status and its figures, those that need nobody last."""
        return [(status, n) for status in _WORST_FIRST if (n := getattr(self, status))]


_WORST_FIRST = (
    Status.MISSING,
    Status.DISPUTED,
    Status.STALE,
    Status.INTERVAL,
    Status.OPEN,
    Status.DERIVED,
    Status.FINAL,
)


@dataclass(frozen=True)
class Report:
    filters: UsageFilters
    page: Page[Any]
    rows: list[ReportRow]
    totals: Totals
    coverage: Totals
    chart: dict[str, Any]
    sources: list[str]
    # Empty for roles that may not see cost.
    shares: list[Sum]
    pools: list[PoolHead]


def build_usage_report(filters: UsageFilters, *, now: datetime) -> Report:
    wide = _periods(filters)
    coverage = _month_totals(filters, wide)
    narrow = narrowed(wide, filters)
    totals = _totals(narrow) if filters.narrowed else coverage
    paginator = Paginator(_ordered(narrow, filters).values_list(*_FIELDS), filters.size)
    paginator.count = totals.figures  # known already
    page = filters.page_of(paginator)
    return Report(
        filters=filters,
        page=page,
        rows=[ReportRow(*values) for values in page.object_list],
        totals=totals,
        coverage=coverage,
        chart=months_chart(filters, now=now),
        sources=_sources(wide),
        shares=_shares(narrow) if filters.with_cost else [],
        pools=pool_heads(filters.month, filters.connection) if filters.with_cost else [],
    )


def report_lines(filters: UsageFilters) -> Iterator[ReportRow]:
    """Return an iterator over all rows of the report, for an export."""
    rows = _ordered(report_periods(filters), filters)
    return (ReportRow(*values) for values in rows.values_list(*_FIELDS).iterator(chunk_size=2000))


def report_periods(filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures of the report's rows, in no order."""
    return narrowed(_periods(filters), filters)


def _periods(filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures of billing periods that end in the month."""
    periods = UsagePeriod.objects.filter(month=filters.month, account__duplicate_of=None)
    return periods.filter(account__connection=filters.connection) if filters.connection else periods


def _sources(periods: QuerySet[UsagePeriod]) -> list[str]:
    found = periods.filter(current__isnull=False).values_list("current__source", flat=True)
    return list(found.distinct().order_by("current__source"))


def narrowed(periods: QuerySet[UsagePeriod], filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures that the filters leave."""
    if filters.lists_nothing:
        return periods.none()
    if filters.status:
        periods = periods.filter(status=filters.status)
    if filters.q:
        customers = matches("account__customer__search__contains", filters.q)
        periods = periods.filter(customers | Q(account__provider_id__startswith=filters.q))
    conditions = {
        "over": Q(overage__gt=0) | Q(overage_high__gt=0),
        "undecided": Q(status__in=(Status.DISPUTED, Status.INTERVAL, Status.MISSING, Status.STALE)),
        "unreferenced": Q(account__customer__external_reference=""),
    }
    return periods.filter(conditions[filters.only]) if filters.only else periods


def _month_totals(filters: UsageFilters, periods: QuerySet[UsagePeriod]) -> Totals:
    """Return the stored sums of the month."""
    stored = MonthTotal.objects.filter(month=filters.month)
    if filters.connection:
        stored = stored.filter(connection=filters.connection)
    names = [name for name in SUMS if name != "allocated_cost"]
    sums = dict.fromkeys(names, 0)
    for row in stored:
        for name in names:
            sums[name] += getattr(row, name)
    return Totals(**sums, **_span(periods))


def _totals(periods: QuerySet[UsagePeriod]) -> Totals:
    """Return the sums of filtered figures."""
    sums: dict[str, int] = dict.fromkeys((name for name in SUMS if name != "allocated_cost"), 0)
    for row in sums_of(periods, "month"):
        for name in sums:
            sums[name] += row.get(f"n_{name}", row.get(f"sum_{name}", row.get(name, 0)))
    return Totals(**sums, **_span(periods))


def _span(periods: QuerySet[UsagePeriod]) -> dict[str, Any]:
    return periods.aggregate(
        over_customers=Count("account__customer", filter=Q(overage__gt=0), distinct=True),
        oldest_at=Min("read_at"),
        newest_at=Max("read_at"),
    )


def _shares(periods: QuerySet[UsagePeriod]) -> list[Sum]:
    """Return the allocated cost of the rows by currency: currencies are never added up."""
    priced = sums_of(periods.filter(allocated_cost__isnull=False), "currency")
    rows = sorted(priced, key=lambda row: row["currency"])
    return [Sum(row["currency"], trimmed(row["sum_cost"]), row["figures"]) for row in rows]


def _ordered(periods: QuerySet[UsagePeriod], filters: UsageFilters) -> QuerySet[UsagePeriod]:
    name = filters.sort.removeprefix("-")
    if filters.sort == "-used":
        return periods.order_by(MOST_USED, "pk")
    column = F(_SORT_FIELDS[name])
    order = column.desc(nulls_last=True) if filters.sort.startswith("-") else column.asc(nulls_last=True)
    if name == "share":
        return periods.order_by(F("currency").desc(), order, "pk")
    return periods.order_by(order, "pk")
