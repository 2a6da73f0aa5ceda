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

from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.functional import cached_property

from billing import money
from billing.models import MOST_USED, NOT_OVER, FigureVersion, Status, UsagePeriod, UsageSnapshot
from billing.reports.past_readings import NO_LIMIT, SUMS, EarlierFigures, SqlStatement, sql_of
from billing.usage.duplicates import no_duplicates
from customers.models import Connection
from portal.money_field import amount_of

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
    """The figures of `month` at ledger batch `batch`: those with a version first, then the open ones.

    An open figure that has not changed since is read from its row, and an earlier one from its last reading by then.
    `part`: the rows that will be read after the totals; both are found in one pass over the open figures.
    """

    def __init__(
        self, month: date, batch: int, connection: Connection | None = None, *, part: slice | None = None
    ) -> None:
        self.month, self.batch, self._part = month, batch, part
        own = no_duplicates() & (Q(account__connection=connection) if connection else Q())
        valid = Q(to_batch=None) | Q(to_batch__gt=batch)
        self.versions = FigureVersion.objects.filter(own, valid, month=month, from_batch__lte=batch)
        unversioned = UsagePeriod.objects.filter(own, month=month, version=0)
        self.unchanged = unversioned.filter(batch__lte=batch)
        later = FigureVersion.objects.filter(own, month=month, n=1, from_batch__gt=batch)
        self.earlier = EarlierFigures(unversioned.filter(batch__gt=batch), later)
        self._found: dict[tuple[int, int], _OpenFigures] = {}

    def lines(self) -> Iterator[PastFigure]:
        """Return all figures in the order of the page."""
        start = 0
        while rows := self._versions_from(start, start + TOGETHER):
            yield from rows
            start += TOGETHER
        keys = self._open(0, NO_LIMIT).keys
        for start in range(0, len(keys), TOGETHER):
            yield from _of_readings(keys[start : start + TOGETHER])

    def __getitem__(self, part: slice) -> list[PastFigure]:
        """Return the rows of one page."""
        start, stop = part.start or 0, part.stop
        rows = self._versions_from(start, stop)
        if len(rows) < stop - start:
            rows += _of_readings(self._open_part(start, stop).keys[: stop - max(start, self._versioned)])
        return rows

    def totals(self, *, with_cost: bool) -> PastTotals:
        """Return the sums of all figures."""
        part = self._part or slice(0, 0)
        return self.totals_with(self._open_part(part.start, part.stop).sums, with_cost=with_cost)

    def totals_with(self, earlier: Sequence[dict[str, Any]], *, with_cost: bool) -> PastTotals:
        """Return the sums of all figures, with these of the open ones that changed since."""
        groups = [*self._version_sums, *_sums(self.unchanged, are_open=True), *earlier]
        return _totals_of(groups, with_cost=with_cost)

    @cached_property
    def _version_sums(self) -> list[dict[str, Any]]:
        return _sums(self.versions)

    @property
    def _versioned(self) -> int:
        return sum(group["figures"] for group in self._version_sums)

    def _versions_from(self, start: int, stop: int) -> list[PastFigure]:
        pks = list(self.versions.order_by(MOST_USED, "pk").values_list("pk", flat=True)[start:stop])
        found = of_versions(pks)
        return [found[pk] for pk in pks]

    def _open_part(self, start: int, stop: int) -> _OpenFigures:
        """Return the open figures among the rows of a page."""
        if self._part and start == self._part.start:
            stop = self._part.stop  # the last page is cut where the rows end
        first = max(0, start - self._versioned)
        return self._open(first, max(0, stop - self._versioned) - first)

    def _open(self, start: int, limit: int) -> _OpenFigures:
        if (start, limit) not in self._found:
            self._found[start, limit] = self._read_open(start, limit)
        return self._found[start, limit]

    def _read_open(self, start: int, limit: int) -> _OpenFigures:
        """Return the sums of the earlier open figures, and some of all open ones in the order of their periods."""
        statement = SqlStatement()
        statement.add_last_readings("earlier", self.earlier, self.batch)
        listed = ("SELECT period, reading FROM earlier", ())
        statement.add("listed", ("period", "reading"), listed, sql_of(self.unchanged.values_list("pk", "current")))
        page = "SELECT period, reading FROM listed ORDER BY period LIMIT %s OFFSET %s"
        rows = statement.rows(
            (f"SELECT NULL, NULL, currency, {SUMS} FROM earlier GROUP BY currency", ()),
            (f"SELECT period, reading, NULL, 0, 0, 0, 0, 0 FROM ({page}) page", (limit, start)),
        )
        keys = sorted((row[0], row[1]) for row in rows if row[0] is not None)
        return _OpenFigures(keys, [open_sums(row[2:]) for row in rows if row[0] is None])


@dataclass(frozen=True)
class _OpenFigures:
    """Billing periods with their readings, and the sums of the earlier ones by currency."""

    keys: list[tuple[int, int]]
    sums: list[dict[str, Any]]


def of_versions(pks: Collection[int]) -> dict[int, PastFigure]:
    """Return figures by their version (pk)."""
    rows = FigureVersion.objects.filter(pk__in=pks).order_by().values_list("pk", *_OF_VERSION)
    return {pk: PastFigure(*values) for pk, *values in rows}


def _of_readings(keys: Sequence[tuple[int, int]]) -> list[PastFigure]:
    """Return open figures, each a billing period and its reading, in this order."""
    found = of_readings(keys)
    return [found[key] for key in keys]


def of_readings(keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], PastFigure]:
    """Return open figures by their billing period and reading."""
    rows = UsagePeriod.objects.filter(pk__in={period for period, _ in keys}).order_by()
    by_period = {row[0]: row for row in rows.values_list("pk", "start_on", "end_on", *_ACCOUNT)}
    readings = UsageSnapshot.objects.defer("raw").in_bulk({reading for _, reading in keys})
    return {key: _open_figure(by_period[key[0]], readings[key[1]]) for key in keys}


def open_sums(row: Sequence[Any]) -> dict[str, Any]:
    """Return the sums of open figures as `_sums` does, from a currency and `past_readings.SUMS`."""
    currency, figures, used, overage, priced, cost = row
    sums = dict.fromkeys(_SUMS, 0) | {"open": int(figures), "figures": int(figures)}
    sums |= {"sum_used": int(used), "sum_overage": int(overage)}
    return sums | {"currency": currency, "priced": int(priced), "cost": amount_of(cost) or Decimal()}


def _totals_of(groups: Sequence[dict[str, Any]], *, with_cost: bool) -> PastTotals:
    """Return the sums of groups by currency."""
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
