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
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    FilteredRelation,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
)
from django.db.models import Sum as Total

from billing.models import UsagePeriod, UsageSnapshot
from billing.money import Sum, trimmed, trimmed_or_none
from billing.reports.filters import UsageFilters
from billing.reports.month_chart import SYNC_DUE, months_chart, waits_for_first_sync
from billing.reports.pool import PoolHead, pool_heads
from billing.usage.periods import CLOSE_ENOUGH, midnight, month_after
from customers.models import Account, Operation
from customers.models.operation_states import OperationKind, OperationState
from portal.typed_text import matches

STOPPED_AFTER = timedelta(days=7)
DELETED_FOR_GOOD = {"kind": OperationKind.DELETE, "state": OperationState.SUCCEEDED}
_SORT_FIELDS = {
    "name": "customer__company_name",
    "reference": "customer__external_reference",
    "state": "state",
    "package": "cycle__current__package",
    "requests": "cycle__current__requests",
    "allowed": "cycle__allowed",
    "used": "cycle__used",
    "remaining": "cycle__current__remaining",
    "over": "cycle__overage",
    "reputation": "cycle__current__reputation",
    "end": "cycle__end_on",
    "read": "cycle__read_at",
    "share": "cycle__allocated_cost",
}


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
    due: bool

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
        """Return how complete the usage is: "gap" (none), "due" (none yet: the first sync of the period is
        still to come), "final" (before a delete), "open", "whole" or "partial"."""
        if self.due:
            return "due"
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


# The column of each field of a `ReportRow`.
_COLUMNS = {
    "account": "public_id",
    "customer": "customer__public_id",
    "company": "customer__company_name",
    "reference": "customer__external_reference",
    "provider_id": "provider_id",
    "connection": "connection__name",
    "kind": "connection__kind",
    "state": "state",
    "state_raw": "state_raw",
    "package_now": "package",
    "created_at": "created_at",
    "missing_since": "usage_missing_since",
    "start_on": "cycle__start_on",
    "end_on": "cycle__end_on",
    "ends_at": "cycle__ends_at",
    "used": "cycle__used",
    "allowed": "cycle__allowed",
    "overage": "cycle__overage",
    "read_at": "cycle__read_at",
    "unread_seconds": "cycle__unread_seconds",
    "package_then": "cycle__current__package",
    "requests": "cycle__current__requests",
    "remaining": "cycle__current__remaining",
    "reputation": "cycle__current__reputation",
    "process_on": "cycle__current__process_on",
    "source": "cycle__current__source",
    "inferred": "cycle__current__period_inferred",
    "final": "cycle__final",
    "held": "cycle__held__used",
    "allocated_cost": "cycle__allocated_cost",
    "currency": "cycle__currency",
    "settings": "settings",
    "due": "due",
}


@dataclass(frozen=True)
class Coverage:
    """Completeness of a set of rows. `whole` counts final rows (read to the end, or before a delete)."""

    rows: int
    read: int
    due: int
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
        return self.rows - self.read - self.due

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
    page: Page[Any]
    rows: list[ReportRow]
    totals: Coverage
    coverage: Coverage
    chart: dict[str, Any]
    sources: list[str]
    # Empty for roles that may not see cost.
    shares: list[Sum]
    pools: list[PoolHead]


def build_usage_report(filters: UsageFilters, *, now: datetime) -> Report:
    wide = _accounts(filters)
    coverage = _coverage(wide, filters, now)
    narrow = _narrowed(wide, filters, now)
    totals = _coverage(narrow, filters, now) if filters.narrowed else coverage
    paginator = Paginator(_ordered(narrow, filters, now).values_list(*_COLUMNS.values()), filters.size)
    paginator.count = totals.rows  # known already
    page = filters.page_of(paginator)
    return Report(
        filters=filters,
        page=page,
        rows=[ReportRow(*values) for values in page.object_list],
        totals=totals,
        coverage=coverage,
        chart=months_chart(filters, missing_now=coverage.gaps, now=now),
        sources=_sources(filters),
        shares=_shares(narrow) if filters.with_cost else [],
        pools=pool_heads(filters.month, filters.connection) if filters.with_cost else [],
    )


def report_lines(filters: UsageFilters, *, now: datetime) -> Iterator[ReportRow]:
    """Return an iterator over all rows of the report, for an export."""
    rows = _ordered(_narrowed(_accounts(filters), filters, now), filters, now)
    return (ReportRow(*values) for values in rows.values_list(*_COLUMNS.values()).iterator(chunk_size=2000))


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
        customers = matches("customer__search__contains", filters.q)
        accounts = accounts.filter(customers | Q(provider_id__startswith=filters.q))
    if filters.quota:
        accounts = accounts.filter(_over_quota(filters.quota))
    conditions = {
        "over": Q(cycle__overage__gt=0),
        "gap": Q(cycle__isnull=True) & ~_waiting(filters, now) | _partial(now),
        "open": _open(now),
        "lower": Q(cycle__held__isnull=False),
        "stopped": _stopped(filters.month, now),
    }
    return accounts.filter(conditions[filters.only]) if filters.only else accounts


def _waiting(filters: UsageFilters, now: datetime) -> Q:
    return waits_for_first_sync(now) if filters.month == filters.this_month else Q(pk__in=[])


def _due(filters: UsageFilters, now: datetime) -> Q:
    """Return the condition for accounts whose first sync in the month is still to come."""
    return Q(cycle__isnull=True) & _waiting(filters, now)


def _open(now: datetime) -> Q:
    return Q(cycle__ends_at__gt=now, cycle__final=False) & ~Q(state="deleted")


def _over_quota(percent: int) -> Q:
    """Return the condition for usage over that part of the quota. Exact: both are whole numbers, and the database
    rounds the division down."""
    return Q(cycle__allowed__gt=0, cycle__used__gt=F("cycle__allowed") * percent / 100)


def _stopped(month: date, now: datetime) -> Q:
    """Return the condition for open periods without more usage for a week, of accounts with usage in the period
    before. What was not read lately is not known to have stopped."""
    week_ago = UsageSnapshot.objects.filter(
        account=OuterRef("pk"),
        period_start_on=OuterRef("cycle__start_on"),
        as_of__lte=now - STOPPED_AFTER,
        used=OuterRef("cycle__used"),
    )
    before = UsagePeriod.objects.filter(account=OuterRef("pk"), month=month_after(month, -1), used__gt=0)
    return _open(now) & Q(Exists(week_ago), Exists(before), cycle__read_at__gte=now - SYNC_DUE)


def _partial(now: datetime) -> Q:
    """Return the condition for partial periods: ended (or deleted), and not read to the end."""
    over = Q(cycle__ends_at__lte=now) | Q(cycle__isnull=False, state="deleted")
    late = Q(cycle__unread_seconds__gt=int(CLOSE_ENOUGH.total_seconds()))
    return over & late & Q(cycle__final=False)


def _coverage(accounts: QuerySet[Account], filters: UsageFilters, now: datetime) -> Coverage:
    found: dict[str, Any] = accounts.aggregate(
        rows=Count("pk"),
        read=Count("cycle"),
        due=Count("pk", filter=_due(filters, now)),
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


def _ordered(accounts: QuerySet[Account], filters: UsageFilters, now: datetime) -> QuerySet[Account]:
    accounts = accounts.annotate(due=ExpressionWrapper(_due(filters, now), output_field=BooleanField()))
    name = filters.sort.removeprefix("-")
    column = F(_SORT_FIELDS[name])
    order = column.desc(nulls_last=True) if filters.sort.startswith("-") else column.asc(nulls_last=True)
    if name == "share":
        return accounts.order_by(F("cycle__currency").desc(nulls_last=True), order, "pk")
    return accounts.order_by(order, "customer__company_name", "pk", F("cycle__start_on").asc())
