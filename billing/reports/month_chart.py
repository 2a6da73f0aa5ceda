"""Chart of usage per month, with the number of accounts missing from each sum. Geometry, no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncMonth

from billing.models import UsagePeriod
from billing.reports.filters import UsageFilters
from billing.usage.periods import CLOSE_ENOUGH, last_day, month_after
from customers.models import Account, Operation
from customers.models.operation_states import OperationKind, OperationState

MONTHS = 12
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1140, 200, 44, 42, 24
GAP_HEIGHT = 18
_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)

# Per month: usage, overage (None where no source reported it), periods of accounts older than the month, and partial
# periods.
Sums = tuple[int, int | None, int, int]


@dataclass(frozen=True)
class Month:
    """A bar. Heights are of the parts; y values are of their upper edges. `missing` counts accounts without usage
    data."""

    month: date
    used: int | None
    over: int | None
    missing: int
    partial: int
    chosen: bool
    open: bool
    x: float
    middle: float
    width: float
    in_y: float
    in_height: float
    over_y: float
    over_height: float
    gap_y: float
    label_y: float


@dataclass(frozen=True)
class Tick:
    value: int
    y: float


@dataclass(frozen=True)
class MonthsChart:
    months: Sequence[Month]
    ticks: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM
    gap_height: int = GAP_HEIGHT

    @property
    def is_empty(self) -> bool:
        return all(month.used is None for month in self.months)

    @property
    def any_gap(self) -> bool:
        return any(month.missing for month in self.months)


def months_chart(filters: UsageFilters, *, missing_now: int) -> MonthsChart:
    """Return the chart of twelve months up to the current one, or up to the selected one if it lies outside."""
    last = filters.this_month
    if filters.month > last or filters.month <= month_after(last, -MONTHS):
        last = filters.month
    months = [month_after(last, step) for step in range(1 - MONTHS, 1)]
    sums = _sums(filters, months)
    missing = _missing(filters, months, sums) | {filters.month: missing_now}
    ticks, top = _ticks(max((used for used, *_ in sums.values()), default=0))
    return MonthsChart(
        months=[
            _bar(filters, number, month, sums=sums.get(month), missing=missing[month], top=top)
            for number, month in enumerate(months)
        ],
        ticks=ticks,
    )


def _sums(filters: UsageFilters, months: list[date]) -> dict[date, Sums]:
    periods = UsagePeriod.objects.filter(month__in=months, account__duplicate_of=None)
    if filters.connection:
        periods = periods.filter(account__connection=filters.connection)
    late = Q(unread_seconds__gt=int(CLOSE_ENOUGH.total_seconds()), end_on__lt=filters.today)
    rows = periods.values("month").annotate(
        used_sum=Sum("used"),
        over_sum=Sum("overage"),
        older=Count("pk", filter=Q(account__created_at__lt=F("month"))),
        partial=Count("pk", filter=late & Q(final=False)),
    )
    return {row["month"]: (row["used_sum"], row["over_sum"], row["older"], row["partial"]) for row in rows}


def _missing(filters: UsageFilters, months: list[date], sums: dict[date, Sums]) -> dict[date, int]:
    """Return per month how many accounts existed before it and have no usage of a period ending in it."""
    of = Q(connection=filters.connection) if filters.connection else Q()
    born = _per_month(Account.objects.filter(of, provider_id__isnull=False, duplicate_of=None), "created_at")
    deletes = Operation.objects.filter(of, kind=OperationKind.DELETE, state=OperationState.SUCCEEDED)
    gone = _per_month(deletes.filter(account__duplicate_of=None), "finished_at")
    found = {}
    for month in months:
        existing = _before(born, month) - _before(gone, month)
        read = sums[month][2] if month in sums else 0
        found[month] = 0 if month > filters.this_month else max(0, existing - read)
    return found


def _per_month(rows: object, moment: str) -> dict[date, int]:
    counted = rows.annotate(of=TruncMonth(moment)).values("of").annotate(n=Count("pk")).order_by()  # type: ignore[attr-defined]
    return {row["of"].date(): row["n"] for row in counted if row["of"]}


def _before(counts: dict[date, int], month: date) -> int:
    return sum(number for of, number in counts.items() if of < month)


def _ticks(highest: int) -> tuple[list[Tick], int]:
    """Return two or three round values above zero, the last not below the highest bar, and the top of the scale."""
    top, steps = nice_top(highest, 3)
    room = HEIGHT - TOP - BOTTOM
    return [Tick(value, round(HEIGHT - BOTTOM - value / top * room, 1)) for value in steps], top


def nice_top(highest: float, parts: int) -> tuple[int, list[int]]:
    """Return a round scale: its top and the values to mark, zero included."""
    rough = max(highest, 1) / parts
    power: float = 10 ** (len(str(int(rough))) - 1)
    step = next(each for each in (int(step * power) for step in _STEPS) if each >= rough)
    count = -(-int(max(highest, 1)) // step)
    return step * count, [step * number for number in range(count + 1)]


def _bar(filters: UsageFilters, number: int, month: date, *, sums: Sums | None, missing: int, top: int) -> Month:
    slot = (WIDTH - LEFT) / MONTHS
    width = round(slot * 0.5, 1)
    x = round(LEFT + slot * number + (slot - width) / 2, 1)
    used, over, _, partial = sums or (0, 0, 0, 0)
    scale = (HEIGHT - TOP - BOTTOM) / top
    over_height, in_height = round((over or 0) * scale, 1), round((used - (over or 0)) * scale, 1)
    in_y = round(HEIGHT - BOTTOM - in_height, 1)
    over_y = round(in_y - over_height, 1)
    gap_y = round(over_y - GAP_HEIGHT, 1) if missing else over_y
    return Month(
        month=month, used=used if sums else None, over=over if sums else None, missing=missing, partial=partial,
        chosen=month == filters.month, open=last_day(month) >= filters.today, x=x, middle=round(x + width / 2, 1),
        width=width, in_y=in_y, in_height=in_height, over_y=over_y, over_height=over_height, gap_y=gap_y,
        label_y=round(gap_y - 6, 1),
    )  # fmt: skip
