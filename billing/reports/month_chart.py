"""Chart of usage per month: what was counted, what intervals may add, missing figures. Geometry, no markup."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db.models import QuerySet, Sum

from billing.labels import STATUSES
from billing.models import MonthTotal
from billing.reports.filters import UsageFilters
from billing.usage.periods import last_day, month_after

MONTHS = 12
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1140, 200, 44, 42, 24
GAP_HEIGHT = 18
_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_NAMES = ("used", "width", "endless", "overage", "overage_width", *STATUSES)
# What the bar says of its figures, the first that applies.
_MARKED = ("missing", "disputed", "stale", "interval")


def months_chart(filters: UsageFilters) -> dict[str, Any]:
    """Return the chart of twelve months up to the current one, or up to the selected one if it lies outside, for its
    template."""
    last = filters.this_month
    if filters.month > last or filters.month <= month_after(last, -MONTHS):
        last = filters.month
    months = [month_after(last, step) for step in range(1 - MONTHS, 1)]
    sums = _sums(filters, months)
    ticks, top = _ticks(max((each["used"] + each["width"] for each in sums.values()), default=0))
    return {
        "months": [_bar(filters, number, month, sums=sums.get(month), top=top) for number, month in enumerate(months)],
        "any_gap": any(each["missing"] for each in sums.values()),
        "any_more": any(each["width"] for each in sums.values()),
        "statuses": list(STATUSES),
        "ticks": ticks,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "floor": HEIGHT - BOTTOM,
        "gap_height": GAP_HEIGHT,
    }


def _sums(filters: UsageFilters, months: list[date]) -> dict[date, dict[str, int]]:
    """Return the stored sums of each month."""
    totals = MonthTotal.objects.filter(month__in=months)
    if filters.connection:
        totals = totals.filter(connection=filters.connection)
    rows: QuerySet[MonthTotal, Any] = totals.values("month").annotate(**{f"sum_{name}": Sum(name) for name in _NAMES})
    return {row["month"]: {name: row[f"sum_{name}"] for name in _NAMES} for row in rows}


def _ticks(highest: int) -> tuple[list[tuple[int, float]], int]:
    """Return two or three round values above zero, the last not below the highest bar, and the top of the scale."""
    top, steps = nice_top(highest, 3)
    room = HEIGHT - TOP - BOTTOM
    return [(value, round(HEIGHT - BOTTOM - value / top * room, 1)) for value in steps], top


def nice_top(highest: float, parts: int) -> tuple[int, list[int]]:
    """Return a round scale: its top and the values to mark, zero included."""
    rough = max(highest, 1) / parts
    power: float = 10 ** (len(str(int(rough))) - 1)
    step = next(each for each in (int(step * power) for step in _STEPS) if each >= rough)
    count = -(-int(max(highest, 1)) // step)
    return step * count, [step * number for number in range(count + 1)]


def _bar(filters: UsageFilters, number: int, month: date, *, sums: dict[str, int] | None, top: int) -> dict[str, Any]:
    """Return a month's bar. Heights are of its parts, y values of their upper edges; `used` is None where nothing was
    read, `more` what intervals may add."""
    slot = (WIDTH - LEFT) / MONTHS
    width = round(slot * 0.5, 1)
    x = round(LEFT + slot * number + (slot - width) / 2, 1)
    sums = sums or dict.fromkeys(_NAMES, 0)
    counts = [(status, sums[status]) for status in STATUSES]
    is_read = sum(n for _, n in counts) > sums["missing"]
    scale = (HEIGHT - TOP - BOTTOM) / top
    over_height = round(sums["overage"] * scale, 1)
    in_height = round(max(0, sums["used"] - sums["overage"]) * scale, 1)
    more_height = round(sums["width"] * scale, 1)
    in_y = round(HEIGHT - BOTTOM - in_height, 1)
    over_y = round(in_y - over_height, 1)
    more_y = round(over_y - more_height, 1)
    gap_y = round(more_y - GAP_HEIGHT, 1) if sums["missing"] else more_y
    return {
        "month": month,
        "used": sums["used"] if is_read else None,
        "over": sums["overage"] if is_read else None,
        "more": sums["width"],
        "more_over": sums["overage_width"],
        "endless": sums["endless"],
        "missing": sums["missing"],
        "counts": counts,
        "mark": next(((status, sums[status]) for status in _MARKED if sums[status]), None),
        "chosen": month == filters.month,
        "open": last_day(month) >= filters.today,
        "x": x,
        "middle": round(x + width / 2, 1),
        "width": width,
        "in_y": in_y,
        "in_height": in_height,
        "over_y": over_y,
        "over_height": over_height,
        "more_y": more_y,
        "more_height": more_height,
        "gap_y": gap_y,
        "label_y": round(gap_y - 6, 1),
    }
