"""Pool of a connection in a month: the provider's last report, line by line, and its differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.core.paginator import Page, Paginator
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from billing.models import Anomaly, PooledSnapshot, Status, SyncRun, UsagePeriod
from billing.money import trimmed, trimmed_or_none
from billing.reports.filters import MonthFilters
from billing.usage.assess import LAG
from billing.usage.periods import last_day
from billing.usage.pool_reports import with_verdict
from billing.usage.series import Verdict
from customers.models import Account, Connection
from portal.money_field import rounded

LINES_A_PAGE = 100
READINGS_SHOWN = 60
BUCKETS = ("parent", "accounts", "unmapped", "removed", "total")


class Bucket(NamedTuple):
    used: int
    cost: Decimal


@dataclass(frozen=True)
class Removed:
    """The provider's sum of accounts no longer in the report, next to their last stored usage of the same period, each
    with its cost."""

    rows: Sequence[tuple[UsagePeriod, Decimal | None]]
    theirs: Bucket
    currency: str

    @property
    def ours(self) -> Bucket | None:
        """Sum of the stored usage; None unless all of it is known and in the report's currency, as currencies are never
        added up."""
        costs = [cost for period, cost in self.rows if cost is not None and period.currency == self.currency]
        if len(costs) < len(self.rows):
            return None
        return Bucket(sum(period.used or 0 for period, _ in self.rows), sum(costs, Decimal()))

    @property
    def difference(self) -> Bucket | None:
        """The provider's sum minus the stored sum."""
        if not (ours := self.ours):
            return None
        return Bucket(self.theirs.used - ours.used, trimmed(self.theirs.cost - ours.cost))


@dataclass(frozen=True)
class Pool:
    """The last counted report of the month, in full. `page`: its shares, each with its cost and its account if that is
    stored now. `known` in a share: it was stored when the report was read."""

    snapshot: PooledSnapshot
    read_at: datetime
    buckets: dict[str, Bucket]
    page: Page[Any]
    accounts: int
    unmapped: int
    removed: Removed
    readings: Sequence[tuple[PooledSnapshot, dict[str, Bucket]]]

    @property
    def to_decide(self) -> PooledSnapshot | None:
        """The last report that contradicts the one before it, if nobody decided about it yet."""
        return next((report for report, _ in self.readings if getattr(report, "waits", False)), None)

    @property
    def off(self) -> Bucket:
        """Difference between the total and its parts: none, except for rounding of the cost."""
        parts = [self.buckets[name] for name in BUCKETS[:-1]]
        total = self.buckets["total"]
        return Bucket(
            total.used - sum(each.used for each in parts),
            trimmed(total.cost - sum((each.cost for each in parts), Decimal())),
        )

    @property
    def status(self) -> Status:
        """Open until the period's end; final only if the same report was read twice after it, hours apart."""
        if self.read_at < self.snapshot.ends_at:
            return Status.OPEN if timezone.now() < self.snapshot.ends_at else Status.INTERVAL
        since = max(self.snapshot.as_of, self.snapshot.ends_at)
        return Status.FINAL if self.read_at - since >= LAG else Status.INTERVAL


class PoolHead(NamedTuple):
    """Summary shown next to shares on other pages: the connection, and its last report."""

    connection: Connection
    snapshot: PooledSnapshot
    total: Bucket


def of_month(month: date) -> QuerySet[PooledSnapshot]:
    """Return reports of periods that end in the month, the last one first, without those that finance decided not to
    count."""
    found = PooledSnapshot.objects.filter(period_end_on__gte=month, period_end_on__lte=last_day(month))
    counted: QuerySet[Any] = with_verdict(found)
    return counted.exclude(verdict=Verdict.WRONG).order_by("-period_start_on", "-as_of", "-seq")


def pool_heads(month: date, connection: Connection | None = None) -> list[PoolHead]:
    """Return the last report of each connection in the month. Always two queries."""
    latest = of_month(month).filter(connection=OuterRef("pk")).values("pk")[:1]
    connections = Connection.objects.annotate(pool=Subquery(latest)).filter(pool__isnull=False)
    if connection:
        connections = connections.filter(pk=connection.pk)
    chosen = list(connections)
    found = PooledSnapshot.objects.defer("shares", "raw").in_bulk([each.pool for each in chosen])
    return [PoolHead(each, found[each.pool], _buckets(found[each.pool])["total"]) for each in chosen]


def note_of(connection_id: int) -> str:
    """Return the note of the provider's last report."""
    notes = PooledSnapshot.objects.filter(connection=connection_id).order_by("-as_of", "-seq")
    return notes.values_list("note", flat=True).first() or ""


def pool_of(connection: Connection, filters: MonthFilters) -> Pool | None:
    """Return the last report of a period that ends in the month, or None if there is none."""
    snapshot = of_month(filters.month).filter(connection=connection).defer("raw").first()
    if snapshot is None:
        return None
    read_at = SyncRun.objects.filter(pooled=snapshot).aggregate(at=Max("pooled_at"))["at"] or snapshot.as_of
    # Unknown accounts first: they have to be linked.
    shares = sorted(snapshot.shares, key=lambda share: (share["known"], -share["count"], share["id"]))
    unmapped = sum(not share["known"] for share in shares)
    lines = filters.page_of(Paginator(shares, LINES_A_PAGE))
    accounts = _accounts(connection, [share["id"] for share in lines])
    lines.object_list = [
        (share, trimmed(rounded(Decimal(share["cost"]))), accounts.get(share["id"])) for share in lines
    ]
    buckets = _buckets(snapshot)
    return Pool(
        snapshot=snapshot,
        read_at=read_at,
        buckets=buckets,
        page=lines,
        accounts=len(shares) - unmapped,
        unmapped=unmapped,
        removed=_removed(snapshot, read_at, buckets["removed"]),
        readings=_readings(snapshot),
    )


def _accounts(connection: Connection, ids: list[str]) -> dict[str, Account]:
    rows = Account.objects.filter(connection=connection, provider_id__in=ids).select_related("customer")
    return {str(row.provider_id): row for row in rows}


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
    rows = periods.select_related("account__customer").order_by("-used", "pk")
    gone = [(row, trimmed_or_none(row.allocated_cost)) for row in rows if row.account.provider_id not in named]
    return Removed(gone, theirs, snapshot.currency)


def _readings(snapshot: PooledSnapshot) -> list[tuple[PooledSnapshot, dict[str, Bucket]]]:
    """Return the reports of the period, the last one first. `anomaly` is what a decision about one is addressed by,
    `waits`: nobody decided yet."""
    anomalies = Anomaly.objects.filter(pooled=OuterRef("pk"))
    reports = PooledSnapshot.objects.filter(
        connection=snapshot.connection_id, period_start_on=snapshot.period_start_on
    ).annotate(
        anomaly=Subquery(anomalies.order_by("pk").values("public_id")[:1]),
        waits=Exists(anomalies.filter(closed_at=None)),
    )
    found = with_verdict(reports).order_by("-as_of", "-seq")
    return [(each, _buckets(each)) for each in found.defer("shares", "raw", "note")[:READINGS_SHOWN]]
