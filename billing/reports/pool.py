"""Pool of a connection in a month: the provider's last report, line by line, and its differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Max, OuterRef, Q, QuerySet, Subquery

from billing.models import PooledSnapshot, SyncRun, UsagePeriod
from billing.money import trimmed, trimmed_or_none
from billing.usage.periods import CLOSE_ENOUGH, last_day
from customers.models import Account, Connection

LINES_A_PAGE = 100
READINGS_SHOWN = 60
BUCKETS = ("parent", "accounts", "unmapped", "removed", "total")


class Bucket(NamedTuple):
    used: int
    cost: Decimal


class AccountFacts(NamedTuple):
    """Account and customer of a line; the first field is the provider's account ID."""

    provider_id: str
    public_id: UUID
    state: str
    customer: UUID
    company: str


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One account of the report. `known`: it was stored in the portal when the report was read; `name` is the
    provider's."""

    provider_id: str
    name: str
    known: bool
    used: int
    cost: Decimal
    account: AccountFacts | None


class Gone(NamedTuple):
    """An account no longer in the report, with its last stored usage of the same period."""

    account: UUID
    customer: UUID
    company: str
    provider_id: str
    state: str
    used: int
    cost: Decimal | None
    currency: str
    read_at: datetime
    final: bool


@dataclass(frozen=True)
class Removed:
    """The provider's sum of removed accounts, next to their stored usage."""

    rows: Sequence[Gone]
    theirs: Bucket
    currency: str

    @property
    def ours(self) -> Bucket | None:
        """Sum of the stored usage; None unless all of it is in the report's currency, as currencies are never added
        up."""
        if any(row.cost is None or row.currency != self.currency for row in self.rows):
            return None
        return Bucket(sum(row.used for row in self.rows), sum((row.cost or Decimal() for row in self.rows), Decimal()))

    @property
    def difference(self) -> Bucket | None:
        """The provider's sum minus the stored sum."""
        if not (ours := self.ours):
            return None
        return Bucket(self.theirs.used - ours.used, trimmed(self.theirs.cost - ours.cost))


@dataclass(frozen=True)
class PoolUsageRow:
    as_of: datetime
    total: Bucket
    removed: Bucket
    adds_up: bool


@dataclass(frozen=True)
class Pool:
    """The last report of the month, in full."""

    snapshot: PooledSnapshot
    read_at: datetime
    buckets: dict[str, Bucket]
    page: Page[PoolLine]
    accounts: int
    unmapped: int
    removed: Removed
    readings: Sequence[PoolUsageRow]

    @property
    def off(self) -> Bucket:
        """Difference between the total and its parts: none, except for rounding of the cost."""
        parts = [self.buckets[name] for name in BUCKETS[:-1]]
        total = self.buckets["total"]
        return Bucket(
            total.used - sum(each.used for each in parts),
            trimmed(total.cost - sum((each.cost for each in parts), Decimal())),
        )

    def reach(self, now: datetime) -> str:
        if self.snapshot.ends_at > now:
            return "open"
        return "whole" if self.snapshot.ends_at - self.read_at <= CLOSE_ENOUGH else "partial"


class PoolHead(NamedTuple):
    """Summary shown next to shares on other pages: the connection, and the provider's note."""

    connection: str
    connection_id: UUID
    note: str
    total: Bucket
    currency: str
    adds_up: bool
    as_of: datetime


def of_month(month: date) -> QuerySet[PooledSnapshot]:
    """Return reports of periods that end in the month, the last one first."""
    found = PooledSnapshot.objects.filter(period_end_on__gte=month, period_end_on__lte=last_day(month))
    return found.order_by("-period_start_on", "-as_of", "-seq")


def pool_heads(month: date, connection: Connection | None = None) -> list[PoolHead]:
    """Return the last report of each connection in the month. Always two queries."""
    latest = of_month(month).filter(connection=OuterRef("pk")).values("pk")[:1]
    connections = Connection.objects.annotate(pool=Subquery(latest)).filter(pool__isnull=False)
    if connection:
        connections = connections.filter(pk=connection.pk)
    chosen = list(connections)
    found = PooledSnapshot.objects.defer("shares", "raw").in_bulk([each.pool for each in chosen])
    return [_head(each, found[each.pool]) for each in chosen]


def _head(connection: Connection, pool: PooledSnapshot) -> PoolHead:
    total = Bucket(pool.total_count, trimmed(pool.total_cost))
    return PoolHead(connection.name, connection.public_id, pool.note, total, pool.currency, pool.adds_up, pool.as_of)


def note_of(connection_id: int) -> str:
    """Return the note of the provider's last report."""
    notes = PooledSnapshot.objects.filter(connection=connection_id).order_by("-as_of", "-seq")
    return notes.values_list("note", flat=True).first() or ""


def pool_of(connection: Connection, month: date, *, page: str = "1") -> Pool | None:
    """Return the last report of a period that ends in the month, or None if there is none."""
    snapshot = of_month(month).filter(connection=connection).defer("raw").first()
    if snapshot is None:
        return None
    read_at = SyncRun.objects.filter(pooled=snapshot).aggregate(at=Max("pooled_at"))["at"] or snapshot.as_of
    # Unknown accounts first: they have to be linked.
    shares = sorted(snapshot.shares, key=lambda share: (share["known"], -share["count"], share["id"]))
    unmapped = sum(not share["known"] for share in shares)
    lines: Page[dict[str, Any]] = Paginator(shares, LINES_A_PAGE).get_page(page)
    accounts = _accounts(connection, [share["id"] for share in lines])
    buckets = _buckets(snapshot)
    return Pool(
        snapshot=snapshot,
        read_at=read_at,
        buckets=buckets,
        page=_with(lines, [_line(share, accounts) for share in lines]),
        accounts=len(shares) - unmapped,
        unmapped=unmapped,
        removed=_removed(snapshot, read_at, buckets["removed"]),
        readings=_readings(snapshot),
    )


def _with(page: Page[Any], lines: list[PoolLine]) -> Page[PoolLine]:
    page.object_list = lines
    return page


def _line(share: dict[str, Any], accounts: dict[str, AccountFacts]) -> PoolLine:
    cost = trimmed(Decimal(share["cost"]))
    return PoolLine(share["id"], share["name"], share["known"], share["count"], cost, accounts.get(share["id"]))


def _accounts(connection: Connection, ids: list[str]) -> dict[str, AccountFacts]:
    fields = ("provider_id", "public_id", "state", "customer__public_id", "customer__company_name")
    rows = Account.objects.filter(connection=connection, provider_id__in=ids).values_list(*fields)
    return {row[0]: AccountFacts(*row) for row in rows}


def _buckets(snapshot: PooledSnapshot) -> dict[str, Bucket]:
    return {
        name: Bucket(getattr(snapshot, f"{name}_count"), trimmed(getattr(snapshot, f"{name}_cost"))) for name in BUCKETS
    }


def _removed(snapshot: PooledSnapshot, read_at: datetime, theirs: Bucket) -> Removed:
    """Return accounts of the period that the report does not name and that were not read together with it."""
    named = {share["id"] for share in snapshot.shares}
    periods = UsagePeriod.objects.filter(
        Q(account__state="deleted") | Q(read_at__lt=read_at),
        account__connection=snapshot.connection_id,
        account__duplicate_of=None,
        start_on=snapshot.period_start_on,
    )
    fields = (
        "account__public_id", "account__customer__public_id", "account__customer__company_name",
        "account__provider_id", "account__state", "used", "allocated_cost", "currency", "read_at", "final",
    )  # fmt: skip
    rows = [Gone(*row) for row in periods.order_by("-used", "pk").values_list(*fields)]
    gone = [row._replace(cost=trimmed_or_none(row.cost)) for row in rows if row.provider_id not in named]
    return Removed(gone, theirs, snapshot.currency)


def _readings(snapshot: PooledSnapshot) -> list[PoolUsageRow]:
    """Return the reports of the period, the last one first."""
    found = PooledSnapshot.objects.filter(
        connection=snapshot.connection_id, period_start_on=snapshot.period_start_on
    ).order_by("-as_of", "-seq")
    fields = ("as_of", "total_count", "total_cost", "removed_count", "removed_cost", "adds_up")
    return [
        PoolUsageRow(as_of, Bucket(total, trimmed(cost)), Bucket(removed, trimmed(removed_cost)), fits)
        for as_of, total, cost, removed, removed_cost, fits in found.values_list(*fields)[:READINGS_SHOWN]
    ]
