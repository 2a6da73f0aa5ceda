"""Differences between the figures of a month at two ledger batches, row by row with the reason of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import Q

from billing.models import NOT_OVER, Decision, FigureVersion
from billing.reports.as_of import TOGETHER, FiguresAsOf, PastFigure, PastTotals, of_readings, of_versions
from billing.reports.comparison import ChangedFigure, compare_figures
from billing.reports.past_readings import NO_LIMIT
from billing.usage.figures import FigureCause
from customers.models import Connection


@dataclass(frozen=True)
class FigureChange:
    """A billing period whose figure differs; `before` or `after` is None where it was not in the month."""

    before: PastFigure | None
    after: PastFigure | None

    @property
    def figure(self) -> PastFigure:
        found = self.after or self.before
        if found is None:
            raise ValueError("a change has a figure at one of its ends")
        return found

    @property
    def used(self) -> int:
        return _number(self.after, "used") - _number(self.before, "used")

    @property
    def overage(self) -> int:
        return _number(self.after, "overage") - _number(self.before, "overage")

    @property
    def costs(self) -> dict[str, Decimal]:
        """Return the difference of the allocated cost by currency."""
        found: dict[str, Decimal] = {}
        for sign, figure in ((-1, self.before), (1, self.after)):
            if figure is not None and figure.allocated_cost is not None:
                found[figure.currency] = found.get(figure.currency, Decimal()) + sign * figure.allocated_cost
        return {currency: amount for currency, amount in found.items() if amount}

    @property
    def was_open(self) -> bool:
        return self.before is None or self.before.status in NOT_OVER


def _number(figure: PastFigure | None, name: str) -> int:
    """Return a figure for a sum; one that is missing adds nothing to it."""
    value: int | None = getattr(figure, name, None)
    return value or 0


@dataclass(frozen=True)
class CostChange:
    currency: str
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        return self.after - self.before


@dataclass(frozen=True)
class FigureChanges:
    """Changes, the greatest first, and the totals of the month at both ends. `rows` are those that were asked for;
    `count` is how many there are, `settled` how many of the changed figures were not open before."""

    rows: list[FigureChange]
    count: int
    settled: int
    before: PastTotals
    after: PastTotals

    @property
    def used(self) -> int:
        return self.after.used - self.before.used

    @property
    def overage(self) -> int:
        return self.after.overage - self.before.overage

    @property
    def figures(self) -> int:
        return self.after.figures - self.before.figures

    @property
    def costs(self) -> list[CostChange]:
        """Return the allocated cost of the month at both ends, by currency."""
        was = {each.currency: each.amount for each in self.before.costs}
        now = {each.currency: each.amount for each in self.after.costs}
        zero = Decimal()
        return [CostChange(each, was.get(each, zero), now.get(each, zero)) for each in sorted(was.keys() | now.keys())]


@dataclass(frozen=True)
class ChangesQuery:
    """Figures of a month that differ between two ledger batches. `only_settled`: those that were not open before."""

    month: date
    since: int
    until: int
    connection: Connection | None = None
    only_settled: bool = False


def changes_between(query: ChangesQuery, *, with_cost: bool = False, part: slice | None = None) -> FigureChanges:
    """Return what changed after ledger batch `since` up to `until`: all rows, or `part` of them."""
    before = FiguresAsOf(query.month, query.since, query.connection)
    after = FiguresAsOf(query.month, query.until, query.connection)
    found = compare_figures(before, after, only_settled=query.only_settled, part=part or slice(0, NO_LIMIT))
    return FigureChanges(
        rows=_rows(found.rows),
        count=found.count,
        settled=found.settled,
        before=before.totals_with(found.before, with_cost=with_cost),
        after=after.totals_with(found.after, with_cost=with_cost),
    )


def _rows(found: Sequence[ChangedFigure]) -> list[FigureChange]:
    """Return these figures at both ends."""
    rows = []
    for start in range(0, len(found), TOGETHER):
        some = found[start : start + TOGETHER]
        ends = [end for each in some for end in (each.before, each.after) if end]
        versions = of_versions([end.version for end in ends if end.version])
        readings = of_readings([(end.period, end.reading) for end in ends if end.reading])
        figures = {
            end: versions[end.version] if end.version else readings[end.period, end.reading or 0] for end in ends
        }
        rows += [
            FigureChange(each.before and figures[each.before], each.after and figures[each.after]) for each in some
        ]
    return rows


@dataclass(frozen=True)
class ChangeReason:
    """Why a figure changed last in a span of batches, and the decision if a person made it."""

    cause: str
    batch: int | None
    decision: Decision | None = None


def reasons_of(changes: Sequence[FigureChange], *, since: int, until: int) -> Iterator[ChangeReason]:
    """Return the reason of each change, in their order. An open figure changes by readings only."""
    ids = [change.figure.period for change in changes]
    causes: dict[int, FigureVersion] = {}
    versions = FigureVersion.objects.filter(period__in=ids, from_batch__gt=since, from_batch__lte=until)
    for version in versions.exclude(cause=FigureCause.EXPORT).order_by("from_batch"):
        causes[version.period_id] = version
    decided = {each.from_batch for each in causes.values() if each.cause == FigureCause.DECISION}
    about = Q(period__in=ids) | Q(anomaly__period__in=ids)
    decisions: dict[tuple[int, int], Decision] = {}
    for decision in Decision.objects.filter(about, batch__in=decided).select_related("by", "anomaly").order_by("pk"):
        of = decision.period_id or (decision.anomaly.period_id if decision.anomaly else None)
        if of:
            decisions[of, decision.batch] = decision
    for period in ids:
        last = causes.get(period)
        if last is None:
            yield ChangeReason(FigureCause.READING, None)
        else:
            yield ChangeReason(last.cause, last.from_batch, decisions.get((period, last.from_batch)))
