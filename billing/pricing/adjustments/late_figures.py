"""Figures that changed after the month of their billing period was closed, by the customers whose statements they
concern.

Nothing is stored about them: a closed statement has the ledger batch of its figures, and every later version of a
figure is read. Those that a closed statement has lines for are done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple

from django.db.models import Q
from django.db.models.functions import Coalesce

from billing.models import FigureVersion, Side, Statement, StatementLine
from billing.pricing.adjustments.open_month import ClosedMonths, closed_months
from billing.pricing.statements.ownership import moves_since
from billing.usage.periods import LONGEST_PERIOD, midnight


class FigureRow(NamedTuple):
    """A version of a figure. `customer` is who has the account now."""

    pk: int
    period: int
    account: int
    customer: int
    n: int
    from_batch: int
    to_batch: int | None
    cause: str
    month: date
    start_on: date
    end_on: date
    status: str
    used: int | None
    high: int | None
    allowed: int | None
    package: str
    reported_start_on: date


_COLUMNS = (
    "pk", "period", "account", "account__customer", "n", "from_batch", "to_batch", "cause", "month", "start_on",
    "end_on", "status", "used", "high", "allowed", "package", "period__reported_start_on",
)  # fmt: skip


class LateVersion(NamedTuple):
    """A version that a closed month did not know. `begins` is the first day of its billing period in that month:
    `starts` are those of the versions of the month, each with its batch."""

    figure: FigureRow
    begins: date
    starts: tuple[tuple[int, date], ...]


@dataclass(frozen=True, slots=True)
class ClosedStatement:
    pk: int
    public_id: str
    number: int | None
    customer: int
    month: date
    currency: str
    batch: int


@dataclass(slots=True)
class LateMonth:
    """The closed statements of a customer's month, and the late versions that may concern them, in their order.
    `done` are pairs of a statement and a figure version that a closed statement has lines for."""

    statements: list[ClosedStatement] = field(default_factory=list)
    versions: list[LateVersion] = field(default_factory=list)
    done: set[tuple[int, int]] = field(default_factory=set)

    @property
    def pending(self) -> list[tuple[int, int]]:
        """Pairs of a statement and a version that may still give lines."""
        pairs = ((each.pk, late.figure.pk) for each in self.statements for late in self.versions)
        return [pair for pair in pairs if pair not in self.done]


def late_months(
    closed: ClosedMonths | None = None, customers: Collection[int] | None = None
) -> dict[int, list[LateMonth]]:
    """Return by customer (pk) its closed months with late versions, the oldest first. `customers` narrows them.

    Takes two queries while nothing is late, and then always eight at most.
    """
    closed = closed_months() if closed is None else closed
    if not closed.batches:
        return {}
    moves = moves_since(midnight(min(closed.batches) - LONGEST_PERIOD))
    found: dict[tuple[int, date], LateMonth] = {}
    for month, late in _late_versions(closed, customers, moves):
        account = late.figure.account
        before = [move.before for move in moves.get(account, ()) if move.before]
        for owner in {late.figure.customer, *before}:
            if customers is None or owner in customers:
                found.setdefault((owner, month), LateMonth()).versions.append(late)
    if not found:
        return {}
    _add_statements(found)
    by_customer: dict[int, list[LateMonth]] = defaultdict(list)
    for (customer, _month), each in sorted(found.items()):
        if each.pending:
            by_customer[customer].append(each)
    return dict(by_customer)


def _late_versions(
    closed: ClosedMonths, customers: Collection[int] | None, moves: Mapping[int, Any]
) -> list[tuple[date, LateVersion]]:
    """Return the versions that a closed month did not know, in the order in which they came. One that moved its billing
    period to another month is one of both months."""
    after = Q()
    for month, batch in closed.batches.items():
        after |= Q(month=month) & (Q(from_batch__gt=batch) | Q(to_batch__gt=batch))
    rows = FigureVersion.objects.filter(after)
    if customers is not None:
        moved = [pk for pk, of_one in moves.items() if any(move.before in customers for move in of_one)]
        rows = rows.filter(Q(account__customer__in=customers) | Q(account__in=moved))
    known = {row.pk: row for row in map(FigureRow._make, rows.order_by().values_list(*_COLUMNS))}
    known |= {row.pk: row for row in _moved_on(known.values())}
    by_period: dict[int, list[FigureRow]] = defaultdict(list)
    for row in sorted(known.values(), key=lambda row: row.n):
        by_period[row.period].append(row)
    found = []
    for versions in by_period.values():
        for month, batch in closed.batches.items():
            found += [(month, late) for late in _late_in(month, batch, versions)]
    return sorted(found, key=lambda pair: (pair[1].figure.from_batch, pair[1].figure.start_on, pair[1].figure.pk))


def _moved_on(rows: Iterable[FigureRow]) -> Iterable[FigureRow]:
    """Yield the versions that followed others and belong to a month that isn't closed."""
    starts = {(row.period, row.from_batch) for row in rows}
    ended = {row.period for row in rows if row.to_batch and (row.period, row.to_batch) not in starts}
    if ended:
        last = min(row.from_batch for row in rows)
        followed = FigureVersion.objects.filter(period__in=ended, from_batch__gt=last)
        yield from map(FigureRow._make, followed.order_by().values_list(*_COLUMNS))


def _late_in(month: date, batch: int, versions: list[FigureRow]) -> Iterable[LateVersion]:
    starts = tuple((row.from_batch, row.start_on) for row in versions if row.month == month)
    for earlier, row in pairwise([None, *versions]):
        if row is not None and row.from_batch > batch and month in (row.month, earlier and earlier.month):
            yield LateVersion(row, _begins(starts, batch), starts)


def _begins(starts: Sequence[tuple[int, date]], batch: int) -> date:
    """Return the first day as it was at a batch, or as it was first known after it."""
    known = [start for from_batch, start in starts if from_batch <= batch]
    return known[-1] if known else starts[0][1]


class _Billed(NamedTuple):
    """Days for which a closed statement bills an account, or one that is a duplicate of it by now."""

    account: int
    customer: int
    start_on: date
    end_on: date


def _billed(found: Mapping[tuple[int, date], LateMonth]) -> dict[tuple[int, date], list[_Billed]]:
    """Return by account and month to whom it is billed already."""
    accounts = {late.figure.account for each in found.values() for late in each.versions}
    rows = (
        StatementLine.objects.filter(Q(account__in=accounts) | Q(account__duplicate_of__in=accounts))
        .filter(statement__side=Side.SELL, statement__state=Statement.State.CLOSED)
        .annotate(kept=Coalesce("account__duplicate_of", "account"))
        .annotate(month=Coalesce("adjusts__month", "statement__month"))
        .filter(month__in={month for _customer, month in found})
    )
    billed: dict[tuple[int, date], list[_Billed]] = defaultdict(list)
    for kept, month, *days in rows.order_by().values_list("kept", "month", *_Billed._fields).distinct():
        billed[kept, month].append(_Billed._make(days))
    return billed


def _is_billed_elsewhere(figure: FigureRow, customer: int, billed: Iterable[_Billed]) -> bool:
    """Tell if days of the figure are billed, and none of them for this account to this customer: it moved, and nothing
    tells when, or it took the place of a duplicate. It isn't billed a second time."""
    same = [each for each in billed if each.start_on <= figure.end_on and figure.start_on <= each.end_on]
    return bool(same) and not any((each.account, each.customer) == (figure.account, customer) for each in same)


def _add_statements(found: dict[tuple[int, date], LateMonth]) -> None:
    rows = Statement.objects.filter(
        side=Side.SELL,
        state=Statement.State.CLOSED,
        customer__in={customer for customer, _month in found},
        month__in={month for _customer, month in found},
    )
    columns = ("pk", "public_id", "number", "customer", "month", "currency", "batch")
    for pk, public_id, number, customer, month, currency, batch in rows.order_by("currency").values_list(*columns):
        if customer is not None and (customer, month) in found:
            found[customer, month].statements.append(
                ClosedStatement(pk, str(public_id), number, customer, month, currency, batch)
            )
    billed = _billed(found)
    figures = {late.figure.pk for each in found.values() for late in each.versions}
    lines = StatementLine.objects.filter(figure__in=figures, statement__state=Statement.State.CLOSED)
    done = set(lines.order_by().values_list("adjusts", "figure").distinct())
    for (customer, month), each in found.items():
        batch = min((one.batch for one in each.statements), default=0)
        # The month's first run may have had an earlier batch.
        late = [one for one in each.versions if one.figure.from_batch > batch]
        late = [
            one for one in late if not _is_billed_elsewhere(one.figure, customer, billed[one.figure.account, month])
        ]
        each.versions = [one._replace(begins=_begins(one.starts, batch)) for one in late]
        pks = {one.pk for one in each.statements}
        each.done = {(adjusts, figure) for adjusts, figure in done if adjusts in pks and figure is not None}
