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

from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Sum, When
from django.db.models.functions import Coalesce

from billing import money
from billing.models import MOST_USED, NOT_OVER, FigureVersion, Status, UsagePeriod, UsageSnapshot
from customers.models import Connection

TOGETHER = 1000


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
    """The figures of `month` at ledger batch `batch`: those with a version first, each part in a fixed order."""

    def __init__(self, month: date, batch: int, connection: Connection | None = None) -> None:
        self.month, self.batch = month, batch
        own = Q(account__duplicate_of=None)
        own &= Q(account__connection=connection) if connection else Q()
        valid = Q(to_batch=None) | Q(to_batch__gt=batch)
        versions = FigureVersion.objects.filter(own, month=month)
        self.versions = versions.filter(valid, from_batch__lte=batch)
        later = FigureVersion.objects.filter(month=month, n=1, from_batch__gt=batch).values("period")
        periods = UsagePeriod.objects.filter(own)
        self.unversioned = (periods.filter(month=month, version=0), periods.filter(pk__in=later))

    def of_periods(self, period_ids: Sequence[int]) -> dict[int, PastFigure]:
        """Return the figures of these billing periods, as far as they were in the month."""
        found: dict[int, PastFigure] = {}
        for start in range(0, len(period_ids), TOGETHER):
            some = period_ids[start : start + TOGETHER]
            rows = self._versions(self.versions.filter(period__in=some))
            for part in self.unversioned:
                rows += self._readings(part.filter(pk__in=some))
            found |= {row.period: row for row in rows}
        return found

    def lines(self) -> Iterator[PastFigure]:
        """Return all figures in the order of the page."""
        total = self.count()
        for start in range(0, total, TOGETHER):
            yield from self[start : start + TOGETHER]

    def count(self) -> int:
        return self._versioned_count() + self._readings_count()

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, part: slice) -> list[PastFigure]:
        """Return the rows of one page."""
        start, stop = part.start or 0, part.stop
        keys = list(self.versions.order_by(MOST_USED, "pk").values_list("pk", flat=True)[start:stop])
        by_key = {row.period: row for row in self._versions(FigureVersion.objects.filter(pk__in=keys))}
        of_key = dict(FigureVersion.objects.filter(pk__in=keys).values_list("pk", "period"))
        rows = [by_key[of_key[key]] for key in keys]
        if len(rows) < stop - start:
            versioned = self._versioned_count()
            some = self._open_keys()[max(0, start - versioned) : stop - versioned]
            rows += sorted(
                (row for each in self.unversioned for row in self._readings(each.filter(pk__in=some))),
                key=lambda row: row.period,
            )
        return rows

    def totals(self, *, with_cost: bool) -> PastTotals:
        over = ~Q(status__in=NOT_OVER)
        sums = self.versions.order_by().aggregate(
            figures=Count("pk"),
            open=Count("pk", filter=~over),
            missing=Count("pk", filter=Q(status=Status.MISSING)),
            sum_used=Coalesce(Sum("used"), 0),
            width=Coalesce(Sum(F("high") - F("used"), filter=over), 0),
            endless=Count("pk", filter=over & Q(high=None) & ~Q(status=Status.MISSING)),
            sum_overage=Coalesce(Sum("overage"), 0),
        )
        used, overage = sums.pop("sum_used"), sums.pop("sum_overage")
        costs: dict[str, list[Any]] = {}
        if with_cost:
            _add_costs(costs, self.versions)
        for periods in self._unversioned_at():
            readings = UsageSnapshot.objects.filter(pk__in=periods.values("reading"))
            read = readings.order_by().aggregate(
                n=Count("pk"), sum_used=Coalesce(Sum("used"), 0), sum_overage=Coalesce(Sum("overage"), 0)
            )
            sums["figures"] += read["n"]
            sums["open"] += read["n"]
            used += read["sum_used"]
            overage += read["sum_overage"]
            if with_cost:
                _add_costs(costs, readings)
        shares = tuple(money.Sum(currency, amount, n) for currency, (amount, n) in sorted(costs.items()))
        return PastTotals(**sums, used=used, overage=overage, costs=shares)

    def _versioned_count(self) -> int:
        return self.versions.order_by().count()

    def _readings_count(self) -> int:
        return sum(each.order_by().count() for each in self._unversioned_at())

    def _open_keys(self) -> list[int]:
        return sorted(pk for each in self._unversioned_at() for pk in each.order_by().values_list("pk", flat=True))

    def _versions(self, versions: QuerySet[FigureVersion]) -> list[PastFigure]:
        return [PastFigure(*values) for values in versions.order_by().values_list(*_OF_VERSION)]

    def _unversioned_at(self) -> list[QuerySet[Any]]:
        """Return the open figures that had been read by then, each with the key of its last `reading`."""
        return [self._with_reading(each) for each in self.unversioned]

    def _with_reading(self, periods: QuerySet[UsagePeriod]) -> QuerySet[Any]:
        # Where the figure has not changed since, its reading is the one it has now.
        reading = Case(When(version=0, batch__lte=self.batch, then=F("current")), default=_last_reading(self.batch))
        found: QuerySet[Any] = periods.annotate(reading=reading)
        return found.exclude(reading=None)

    def _readings(self, periods: QuerySet[UsagePeriod]) -> list[PastFigure]:
        names = ("pk", "start_on", "end_on", *_ACCOUNT, "reading")
        rows = list(self._with_reading(periods).order_by().values_list(*names))
        readings = UsageSnapshot.objects.defer("raw").in_bulk([row[-1] for row in rows])
        return [_open_figure(row, readings[row[-1]]) for row in rows]


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
    return PastFigure._make((*row[:3], *figure, *row[3:-1], 0))


def _last_reading(batch: int) -> Subquery:
    """Return the key of a period's last reading up to a batch."""
    readings = UsageSnapshot.objects.filter(
        account=OuterRef("account"), period_start_on=OuterRef("reported_start_on"), batch__lte=batch
    )
    return Subquery(readings.order_by("-as_of", "-seq", "-pk").values("pk")[:1])


def _add_costs(costs: dict[str, list[Any]], rows: QuerySet[Any]) -> None:
    priced = rows.filter(allocated_cost__isnull=False).order_by().values("currency")
    for row in priced.annotate(amount=Sum("allocated_cost"), n=Count("pk")):
        amount, n = costs.get(row["currency"], (Decimal(), 0))
        costs[row["currency"]] = [amount + row["amount"], n + row["n"]]


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
