"""Usage report of a month: one row per account and billing period that ends in it, and one per account without data.

Totals and coverage come from the database; the number of queries does not depend on the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, F, FilteredRelation, Max, Min, OuterRef, Q, QuerySet
from django.db.models import Sum as Total

from billing.models import UsagePeriod
from billing.money import Sum, trimmed, trimmed_or_none
from billing.reports.filters import UsageFilters
from billing.reports.month_chart import MonthsChart, months_chart
from billing.reports.pool import PoolHead, pool_heads
from billing.usage.periods import CLOSE_ENOUGH, midnight, month_after
from customers.models import Account, Operation
from customers.models.operation_states import OperationKind, OperationState

DELETED_FOR_GOOD = {"kind": OperationKind.DELETE, "state": OperationState.SUCCEEDED}
_SORT_FIELDS = {
    "name": "customer__company_name", "reference": "customer__external_reference", "state": "state",
    "package": "cycle__current__package", "requests": "cycle__current__requests", "allowed": "cycle__allowed",
    "used": "cycle__used", "remaining": "cycle__current__remaining", "over": "cycle__overage",
    "reputation": "cycle__current__reputation", "end": "cycle__end_on", "read": "cycle__read_at",
    "share": "cycle__allocated_cost",
}  # fmt: skip


class ReportRow(NamedTuple):
    """One row as the database returns it. Every field of the billing period is None where there is no usage."""

    account: UUID
    customer: UUID
    company: str
    reference: str
    provider_id: str
    connection: str
    kind: str
    state: str
    state_raw: str
    package_now: str
    created_at: datetime
    missing_since: datetime | None
    start_on: date | None
    end_on: date | None
    ends_at: datetime | None
    used: int | None
    allowed: int | None
    overage: int | None
    read_at: datetime | None
    unread_seconds: int | None
    package_then: str | None
    requests: int | None
    remaining: int | None
    reputation: Decimal | None
    process_on: date | None
    source: str | None
    inferred: bool | None
    final: bool | None
    held: int | None
    allocated_cost: Decimal | None
    currency: str | None
    settings: dict[str, Any] | None

    @property
    def share(self) -> Decimal | None:
        return trimmed_or_none(self.allocated_cost)

    @property
    def has_no_cap(self) -> bool:
        """True if the account is known to have no cap, as opposed to a cap that was not read."""
        return (self.settings or {}).get("monthly_cap") == 0

    @property
    def package(self) -> str:
        return self.package_now if self.package_then is None else self.package_then

    def reach(self, now: datetime) -> str:
        """Return how complete the usage is: "gap" (none), "final" (before a delete), "open", "whole" or "partial"."""
        if self.ends_at is None or self.unread_seconds is None:
            return "gap"
        if self.final:
            return "final"
        if self.ends_at > now and self.state != "deleted":
            return "open"
        return "whole" if self.unread_seconds <= CLOSE_ENOUGH.total_seconds() else "partial"

    @property
    def unread(self) -> timedelta:
        return timedelta(seconds=self.unread_seconds or 0)


_FIELDS = (
    "public_id", "customer__public_id", "customer__company_name", "customer__external_reference", "provider_id",
    "connection__name", "connection__kind", "state", "state_raw", "package", "created_at", "usage_missing_since",
    "cycle__start_on", "cycle__end_on", "cycle__ends_at", "cycle__used", "cycle__allowed", "cycle__overage",
    "cycle__read_at", "cycle__unread_seconds", "cycle__current__package", "cycle__current__requests",
    "cycle__current__remaining", "cycle__current__reputation", "cycle__current__process_on", "cycle__current__source",
    "cycle__current__period_inferred", "cycle__final", "cycle__held__used",
    "cycle__allocated_cost", "cycle__currency", "settings",
)  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """Completeness of a set of rows. `whole` counts final rows (read to the end, or before a delete)."""

    rows: int
    read: int
    open: int
    partial: int
    lower: int
    used: int | None
    overage: int | None
    over_customers: int
    oldest_at: datetime | None
    newest_at: datetime | None

    @property
    def gaps(self) -> int:
        return self.rows - self.read

    @property
    def whole(self) -> int:
        return self.read - self.open - self.partial

    @property
    def at_least(self) -> bool:
        """True if the sums are certainly incomplete."""
        return bool(self.gaps or self.partial)

    @property
    def percent(self) -> int:
        return self.read * 100 // self.rows if self.rows else 0


@dataclass(frozen=True)
class Report:
    filters: UsageFilters
    page: Page[ReportRow]
    rows: list[ReportRow]
    totals: Coverage
    coverage: Coverage
    chart: MonthsChart
    sources: list[str]
    # Empty for roles that may not see cost.
    shares: list[Sum]
    pools: list[PoolHead]


def build_usage_report(filters: UsageFilters, *, now: datetime) -> Report:
    wide = _accounts(filters)
    coverage = _coverage(wide, now)
    narrow = _narrowed(wide, filters, now)
    totals = _coverage(narrow, now) if filters.narrowed else coverage
    lines = _Lines(narrow, filters, totals.rows)
    page: Page[ReportRow] = Paginator(lines, filters.size).get_page(filters.page)  # type: ignore[arg-type]
    return Report(
        filters=filters,
        page=page,
        rows=list(page.object_list),
        totals=totals,
        coverage=coverage,
        chart=months_chart(filters, missing_now=coverage.gaps),
        sources=_sources(filters),
        shares=_shares(narrow) if filters.with_cost else [],
        pools=pool_heads(filters.month, filters.connection) if filters.with_cost else [],
    )


def report_lines(filters: UsageFilters, *, now: datetime) -> Iterator[ReportRow]:
    """Return an iterator over all rows of the report, for an export."""
    rows = _ordered(_narrowed(_accounts(filters), filters, now), filters)
    return (ReportRow(*values) for values in rows.values_list(*_FIELDS).iterator(chunk_size=2000))


class _Lines:
    """Rows as a sequence for the paginator; the count is known from the totals."""

    def __init__(self, accounts: QuerySet[Account], filters: UsageFilters, count: int) -> None:
        self._rows, self._count = _ordered(accounts, filters).values_list(*_FIELDS), count

    def count(self) -> int:
        return self._count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> list[ReportRow]:
        return [ReportRow(*values) for values in self._rows[part]]


def _accounts(filters: UsageFilters) -> QuerySet[Account]:
    """Return accounts with a billing period that ends in the month, and those that should have one."""
    accounts = Account.objects.annotate(
        cycle=FilteredRelation("usage_periods", condition=Q(usage_periods__month=filters.month))
    )
    wanted = Q(cycle__isnull=False)
    if not filters.is_future:
        wanted |= Q(pk__in=_expected(filters.month))
    accounts = accounts.filter(wanted, provider_id__isnull=False, duplicate_of=None)
    return accounts.filter(connection=filters.connection) if filters.connection else accounts


def _expected(month: date) -> QuerySet[Account]:
    """Return the accounts expected in the month. One created in it, whose first period is known to end later, is
    not."""
    start, end = midnight(month), midnight(month_after(month))
    gone = Operation.objects.filter(account=OuterRef("pk"), finished_at__lt=start, **DELETED_FOR_GOOD)
    first_ends_later = UsagePeriod.objects.filter(
        account=OuterRef("pk"), start_on__gte=month, start_on__lt=end.date(), end_on__gte=end.date()
    )
    return (
        Account.objects.filter(created_at__lt=end, provider_id__isnull=False)
        .exclude(Exists(gone))
        .exclude(Q(created_at__gte=start) & Exists(first_ends_later))
    )


def _periods(filters: UsageFilters) -> QuerySet[UsagePeriod]:
    periods = UsagePeriod.objects.filter(month=filters.month, account__duplicate_of=None)
    return periods.filter(account__connection=filters.connection) if filters.connection else periods


def _sources(filters: UsageFilters) -> list[str]:
    found = _periods(filters).values_list("current__source", flat=True)
    return list(found.distinct().order_by("current__source"))


def _narrowed(accounts: QuerySet[Account], filters: UsageFilters, now: datetime) -> QuerySet[Account]:
    if filters.state:
        accounts = accounts.filter(state=filters.state)
    if filters.q:
        accounts = accounts.filter(Q(customer__search__contains=filters.q) | Q(provider_id__startswith=filters.q))
    conditions = {
        "over": Q(cycle__overage__gt=0),
        "gap": Q(cycle__isnull=True) | _partial(now),
        "open": _open(now),
        "lower": Q(cycle__held__isnull=False),
    }
    return accounts.filter(conditions[filters.only]) if filters.only else accounts


def _open(now: datetime) -> Q:
    return Q(cycle__ends_at__gt=now, cycle__final=False) & ~Q(state="deleted")


def _partial(now: datetime) -> Q:
    """Return the condition for partial periods: ended (or deleted), and not read to the end."""
    over = Q(cycle__ends_at__lte=now) | Q(cycle__isnull=False, state="deleted")
    late = Q(cycle__unread_seconds__gt=int(CLOSE_ENOUGH.total_seconds()))
    return over & late & Q(cycle__final=False)


def _coverage(accounts: QuerySet[Account], now: datetime) -> Coverage:
    found: dict[str, Any] = accounts.aggregate(
        rows=Count("pk"),
        read=Count("cycle"),
        open=Count("pk", filter=_open(now)),
        partial=Count("pk", filter=_partial(now)),
        lower=Count("cycle__held"),
        used=Total("cycle__used"),
        overage=Total("cycle__overage"),
        over_customers=Count("customer", filter=Q(cycle__overage__gt=0), distinct=True),
        oldest_at=Min("cycle__read_at"),
        newest_at=Max("cycle__read_at"),
    )
    return Coverage(**found)


def _shares(accounts: QuerySet[Account]) -> list[Sum]:
    """Return the allocated cost of the rows by currency: currencies are never added up."""
    priced = accounts.filter(Q(cycle__allocated_cost__isnull=False)).order_by().values(money=F("cycle__currency"))
    rows = priced.annotate(amount=Total("cycle__allocated_cost"), of=Count("pk")).order_by("money")
    return [Sum(row["money"], trimmed(row["amount"]), row["of"]) for row in rows]


def _ordered(accounts: QuerySet[Account], filters: UsageFilters) -> QuerySet[Account]:
    name = filters.sort.removeprefix("-")
    column = F(_SORT_FIELDS[name])
    order = column.desc(nulls_last=True) if filters.sort.startswith("-") else column.asc(nulls_last=True)
    if name == "share":
        return accounts.order_by(F("cycle__currency").desc(nulls_last=True), order, "pk")
    return accounts.order_by(order, "customer__company_name", "pk", F("cycle__start_on").asc())
