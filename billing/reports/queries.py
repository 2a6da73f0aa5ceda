"""Usage report of a month: one row per account and billing period that ends in it, also where the figure is missing.

Totals come from the stored sums of the month; where rows are filtered, the database adds them up. The number of queries
does not depend on the rows, and without filters none of them reads all rows of the month.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import F, QuerySet

from billing.labels import STATUSES
from billing.models import MOST_USED, FigureVersion, MonthTotal, Status, SyncRun, UsagePeriod
from billing.money import Sum, trimmed, trimmed_or_none
from billing.reports.ceiling import hours_to_ceiling
from billing.reports.conditions import narrowed
from billing.reports.customer_sums import CustomerSums, sums_by_customer
from billing.reports.filters import UsageFilters
from billing.reports.month_chart import months_chart
from billing.reports.pool import PoolHead, pool_heads
from billing.usage.duplicates import no_duplicates
from billing.usage.rollups import SUMS, sums_of
from portal.providers import CAPABILITIES

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

    pk: int
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

    @property
    def read(self) -> int:
        return self.figures - self.missing

    def by_status(self) -> list[tuple[str, int]]:
        """Return each status and its figures, those that need nobody last."""
        return [(status, n) for status in STATUSES if (n := getattr(self, status))]


@dataclass(frozen=True)
class Report:
    """`rows` are figures, `customers` sums of customers: one of them is empty, as `filters.group` says. `hours` until
    the ceiling is reached, by figure (pk)."""

    filters: UsageFilters
    page: Page[Any]
    rows: list[ReportRow]
    customers: list[CustomerSums]
    hours: dict[int, int]
    totals: Totals
    coverage: Totals
    chart: dict[str, Any]
    sources: list[str]
    updated_at: datetime | None
    # Empty for roles that may not see cost.
    shares: list[Sum]
    pools: list[PoolHead]
    # False if no account of the month has a package: a cap has no overage.
    has_overage: bool


def build_usage_report(filters: UsageFilters, *, now: datetime) -> Report:
    stored = list(_stored(filters))
    coverage, shares = _totals_of(stored), _shares_of(stored)
    wide = figures_of_month(filters)
    narrow = narrowed(wide, filters)
    totals = coverage
    if filters.narrowed:
        totals, shares = _sums(narrow)
    customers: list[CustomerSums] = []
    rows: list[ReportRow] = []
    if filters.group:
        page, customers = sums_by_customer(filters, narrow)
    else:
        paginator = Paginator(_ordered(narrow, filters).values_list("pk", flat=True), filters.size)
        paginator.count = totals.figures  # known already
        page = filters.page_of(paginator)
        rows = _rows(list(page.object_list))
    open_ = [row.pk for row in rows if row.status == Status.OPEN]
    used = {row.connection_id for row in stored if row.figures}
    connections = [each for each in filters.connections if each.pk in used]
    return Report(
        filters=filters,
        page=page,
        rows=rows,
        customers=customers,
        hours=hours_to_ceiling(UsagePeriod.objects.filter(pk__in=open_), now=now) if open_ else {},
        totals=totals,
        coverage=coverage,
        chart=months_chart(filters),
        sources=sorted({each.usage_source for each in connections}),
        updated_at=_updated_at(filters, coverage),
        shares=shares if filters.with_cost else [],
        pools=pool_heads(filters.month, filters.connection) if filters.with_cost else [],
        has_overage=any(CAPABILITIES[each.kind].offerings for each in connections),
    )


def report_lines(filters: UsageFilters) -> Iterator[ReportRow]:
    """Return an iterator over all rows of the report, for an export."""
    return map(ReportRow._make, ordered_periods(filters).values_list(*_FIELDS).iterator(chunk_size=2000))


def ordered_periods(filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures of the report's rows, in its order."""
    return _ordered(report_periods(filters), filters)


def report_periods(filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures of the report's rows, in no order."""
    return narrowed(figures_of_month(filters), filters)


def figures_of_month(filters: UsageFilters) -> QuerySet[UsagePeriod]:
    """Return the figures of billing periods that end in the month."""
    periods = UsagePeriod.objects.filter(no_duplicates(), month=filters.month)
    return periods.filter(account__connection=filters.connection) if filters.connection else periods


def _updated_at(filters: UsageFilters, coverage: Totals) -> datetime | None:
    """Return when the figures of the month were updated: while periods are open, the end of the last sync of all
    accounts; afterward, the last change."""
    if coverage.open or coverage.stale:
        runs = SyncRun.objects.filter(kind__in=SyncRun.FULL, finished_at__isnull=False).order_by("-started_at")
        runs = runs.filter(connection=filters.connection) if filters.connection else runs
        return runs.values_list("finished_at", flat=True).first()
    versions = FigureVersion.objects.filter(month=filters.month).order_by("-from_batch")
    return versions.values_list("at", flat=True).first()


def _stored(filters: UsageFilters) -> QuerySet[MonthTotal]:
    """Return the stored sums of the month."""
    stored = MonthTotal.objects.filter(month=filters.month)
    return stored.filter(connection=filters.connection) if filters.connection else stored


_EMAIL_SUMS = tuple(name for name in SUMS if name != "allocated_cost")


def _totals_of(stored: list[MonthTotal]) -> Totals:
    return Totals(**{name: sum(getattr(row, name) for row in stored) for name in _EMAIL_SUMS})


def _sums(periods: QuerySet[UsagePeriod]) -> tuple[Totals, list[Sum]]:
    """Return the sums of filtered figures, and their allocated cost by currency."""
    sums: dict[str, int] = dict.fromkeys(_EMAIL_SUMS, 0)
    rows = sorted(sums_of(periods, "currency"), key=lambda row: row["currency"])
    for row in rows:
        for name in sums:
            sums[name] += row.get(f"n_{name}", row.get(f"sum_{name}", row.get(name, 0)))
    shares = [Sum(row["currency"], trimmed(row["sum_cost"]), row["figures"]) for row in rows if row["currency"]]
    return Totals(**sums), shares


def _shares_of(stored: list[MonthTotal]) -> list[Sum]:
    """Return the allocated cost by currency: currencies are never added up."""
    found: dict[str, Sum] = {}
    for row in sorted(stored, key=lambda row: row.currency):
        if row.currency and row.figures:
            before = found.get(row.currency, Sum(row.currency, Decimal(), 0))
            found[row.currency] = Sum(row.currency, before.amount + row.allocated_cost, before.of + row.figures)
    return [Sum(each.currency, trimmed(each.amount), each.of) for each in found.values()]


def _rows(pks: list[int]) -> list[ReportRow]:
    """Return the rows of one page. Only theirs are joined: a late page skips over many."""
    found = UsagePeriod.objects.filter(pk__in=pks).values_list(*_FIELDS)
    rows = {row.pk: row for row in map(ReportRow._make, found)}
    return [rows[pk] for pk in pks]


def _ordered(periods: QuerySet[UsagePeriod], filters: UsageFilters) -> QuerySet[UsagePeriod]:
    name = filters.sort.removeprefix("-")
    if filters.sort == "-used" or filters.group:  # the order of customers is none of figures
        return periods.order_by(MOST_USED, "pk")
    column = F(_SORT_FIELDS[name])
    order = column.desc(nulls_last=True) if filters.sort.startswith("-") else column.asc(nulls_last=True)
    if name == "share":
        return periods.order_by(F("currency").desc(), order, "pk")
    return periods.order_by(order, "pk")
