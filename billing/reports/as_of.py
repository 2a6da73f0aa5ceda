"""The figures of a month as they were at a ledger batch. The answer for a batch stays the same.

A figure whose billing period is over, that was disputed or exported, has versions: the one that was valid then counts.
Any other one was open, and none of its readings contradicted another: the last one up to that batch is its figure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.functional import cached_property

from billing import money
from billing.models import MOST_USED, NOT_OVER, FigureVersion, Status, UsagePeriod, UsageSnapshot
from customers.models import Account, Connection

TOGETHER = 1000
MANY = 20_000


class PastFigure(NamedTuple):
    """A figure as it was, of one account's billing period."""

    period: int
    start_on: date
    end_on: date
    status: str
    reason: str
    used: int | None
    high: int | None
    allowed: int | None
    overage: int | None
    overage_high: int | None
    package: str
    allocated_cost: Decimal | None
    currency: str
    read_at: datetime | None
    account: UUID
    company: str
    reference: str
    provider_id: str
    connection: str
    version: int

    @property
    def values(self) -> tuple[Any, ...]:
        """Return what a change is a change of: neither names nor the time of a reading that confirmed the figure."""
        return self[1:13]

    @property
    def width(self) -> int | None:
        return None if self.high is None or self.used is None else self.high - self.used


_ACCOUNT = (
    "account__public_id",
    "account__customer__company_name",
    "account__customer__external_reference",
    "account__provider_id",
    "account__connection__name",
)
_OF_VERSION = ("period", *PastFigure._fields[1:14], *_ACCOUNT, "n")


@dataclass(frozen=True)
class PastTotals:
    """Sums of a month's figures at a ledger batch. `width`: emails between least and most of figures that have both;
    `endless` figures are over and have no known most."""

    figures: int = 0
    open: int = 0
    missing: int = 0
    used: int = 0
    width: int = 0
    endless: int = 0
    overage: int = 0
    costs: tuple[money.Sum, ...] = ()


class FiguresAsOf:
    """The figures of `month` at ledger batch `batch`: those with a version first, then the open ones.

    An open figure that has not changed since is read from its row, and an earlier one from its last reading by then.
    """

    def __init__(self, month: date, batch: int, connection: Connection | None = None) -> None:
        self.month, self.batch = month, batch
        own = ~Q(account__in=Account.objects.filter(duplicate_of__isnull=False))
        own &= Q(account__connection=connection) if connection else Q()
        valid = Q(to_batch=None) | Q(to_batch__gt=batch)
        self.versions = FigureVersion.objects.filter(own, valid, month=month, from_batch__lte=batch)
        self._own = own
        self._unversioned = UsagePeriod.objects.filter(own, month=month, version=0)
        self.unchanged = self._unversioned.filter(batch__lte=batch)

    @cached_property
    def readings(self) -> dict[int, int]:
        """The open figures that changed since, or have had versions since: the last reading by then of each."""
        later = FigureVersion.objects.filter(month=self.month, n=1, from_batch__gt=self.batch)
        versioned = list(later.values_list("period", flat=True))
        some = [versioned[start : start + MANY] for start in range(0, len(versioned), MANY)]
        parts = [self._unversioned.filter(batch__gt=self.batch)]
        parts += [UsagePeriod.objects.filter(self._own, pk__in=keys) for keys in some]
        by_then = UsageSnapshot.objects.filter(
            account=OuterRef("account"), period_start_on=OuterRef("reported_start_on"), batch__lte=self.batch
        )
        last = Subquery(by_then.order_by("-as_of", "-seq", "-pk").values("pk")[:1])
        found: dict[int, int | None] = {}
        for part in parts:
            found |= dict(part.order_by().annotate(reading=last).values_list("pk", "reading"))
        return {period: reading for period, reading in found.items() if reading is not None}

    def of_periods(self, period_ids: Sequence[int]) -> dict[int, PastFigure]:
        """Return the figures of these billing periods, as far as they were in the month."""
        found: dict[int, PastFigure] = {}
        for start in range(0, len(period_ids), TOGETHER):
            some = period_ids[start : start + TOGETHER]
            rows = self._of_versions(self.versions.filter(period__in=some)) + self._of_open(some)
            found |= {row.period: row for row in rows}
        return found

    def lines(self) -> Iterator[PastFigure]:
        """Return all figures in the order of the page."""
        start = 0
        while rows := self[start : start + TOGETHER]:
            yield from rows
            start += TOGETHER

    def __getitem__(self, part: slice) -> list[PastFigure]:
        """Return the rows of one page."""
        start, stop = part.start or 0, part.stop
        keys = list(self.versions.order_by(MOST_USED, "pk").values_list("pk", "period")[start:stop])
        versions = self._of_versions(FigureVersion.objects.filter(pk__in=[pk for pk, _ in keys]))
        by_period = {row.period: row for row in versions}
        rows = [by_period[period] for _, period in keys]
        if len(rows) < stop - start:
            before = self.versions.order_by().count()
            some = self._open_keys()[max(0, start - before) : stop - before]
            rows += sorted(self._of_open(some), key=lambda row: row.period)
        return rows

    def totals(self, *, with_cost: bool) -> PastTotals:
        """Return the sums of all figures."""
        groups = [*_sums(self.versions), *_sums(self.unchanged, are_open=True)]
        keys = sorted(self.readings.values())
        for start in range(0, len(keys), MANY):
            groups += _sums(UsageSnapshot.objects.filter(pk__in=keys[start : start + MANY]), are_open=True)
        sums = {name: sum(group[name] for group in groups) for name in _SUMS}
        shares: dict[str, money.Sum] = {}
        for group in groups:
            if with_cost and group["priced"]:
                known = shares.get(group["currency"], money.Sum(group["currency"], Decimal(), 0))
                amount, of = known.amount + group["cost"], known.of + group["priced"]
                shares[known.currency] = money.Sum(known.currency, amount, of)
        costs = tuple(share._replace(amount=money.trimmed(share.amount)) for _, share in sorted(shares.items()))
        used, overage = sums.pop("sum_used"), sums.pop("sum_overage")
        return PastTotals(**sums, used=used, overage=overage, costs=costs)

    def _open_keys(self) -> list[int]:
        return sorted([*self.unchanged.order_by().values_list("pk", flat=True), *self.readings])

    def _of_versions(self, versions: QuerySet[FigureVersion]) -> list[PastFigure]:
        return [PastFigure(*values) for values in versions.order_by().values_list(*_OF_VERSION)]

    def _of_open(self, period_ids: Sequence[int]) -> list[PastFigure]:
        current = dict(self.unchanged.filter(pk__in=period_ids).order_by().values_list("pk", "current"))
        reading = current | {pk: self.readings[pk] for pk in period_ids if pk in self.readings}
        rows = UsagePeriod.objects.filter(pk__in=reading).order_by().values_list("pk", "start_on", "end_on", *_ACCOUNT)
        found = UsageSnapshot.objects.defer("raw").in_bulk(reading.values())
        return [_open_figure(row, found[reading[row[0]]]) for row in rows]


_SUMS = ("figures", "open", "missing", "sum_used", "width", "endless", "sum_overage")


def _sums(rows: QuerySet[Any], *, are_open: bool = False) -> list[dict[str, Any]]:
    """Return the sums of figures or readings by currency, in one pass over them."""
    zero = Value(0)
    over = ~Q(status__in=NOT_OVER)
    sums: dict[str, Any] = {"open": Count("pk"), "missing": zero, "width": zero, "endless": zero}
    if not are_open:
        sums = {
            "open": Count("pk", filter=~over),
            "missing": Count("pk", filter=Q(status=Status.MISSING)),
            "width": Coalesce(Sum(F("high") - F("used"), filter=over), zero),
            "endless": Count("pk", filter=over & Q(high=None) & ~Q(status=Status.MISSING)),
        }
    grouped = (
        rows.order_by()
        .values("currency")
        .annotate(
            **sums,
            figures=Count("pk"),
            sum_used=Coalesce(Sum("used"), zero),
            sum_overage=Coalesce(Sum("overage"), zero),
            priced=Count("allocated_cost"),
            cost=Sum("allocated_cost"),
        )
    )
    return list(grouped)


def _open_figure(row: tuple[Any, ...], reading: UsageSnapshot) -> PastFigure:
    figure = (
        Status.OPEN.value,
        "",
        reading.used,
        None,
        reading.allowed,
        reading.overage,
        None,
        reading.package,
        reading.allocated_cost,
        reading.currency,
        reading.as_of,
    )
    return PastFigure._make((*row[:3], *figure, *row[3:], 0))


def periods_touched(month: date, since: int, until: int) -> Collection[int]:
    """Return the billing periods whose figure in the month may differ between two ledger batches."""
    versions = FigureVersion.objects.filter(month=month)
    begun = Q(from_batch__gt=since, from_batch__lte=until)
    ended = Q(to_batch__gt=since, to_batch__lte=until)
    found = set(versions.filter(begun).values_list("period", flat=True))
    found.update(versions.filter(ended).values_list("period", flat=True))
    found.update(versions.filter(n=1, from_batch__gt=until).values_list("period", flat=True))
    found.update(UsagePeriod.objects.filter(month=month, version=0, batch__gt=since).values_list("pk", flat=True))
    return found
