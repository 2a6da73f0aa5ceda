"""Chart of usage per month, with the number of accounts missing from each sum. Geometry, no markup."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncMonth

from billing.models import UsagePeriod
from billing.reports.filters import UsageFilters
from billing.usage.periods import CLOSE_ENOUGH, last_day, midnight, month_after
from customers.models import Account, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind, OperationState

MONTHS = 12
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1140, 200, 44, 42, 24
GAP_HEIGHT = 18
# The next nightly sync has ended by then, as on the home page.
SYNC_DUE = timedelta(hours=36)
_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)

# Per month: usage, overage (None where no source reported it), periods of accounts older than the month, and partial
# periods.
Sums = tuple[int, int | None, int, int]


def waits_for_first_sync(now: datetime) -> Q:
    """Return the condition for accounts whose billing period has begun and whose next sync is still to come: they have
    no usage in it, and nothing is missing."""
    lately = now - SYNC_DUE
    rolled_over = Q(usage_read_at__gte=lately, usage_end_on__lt=now.astimezone(UTC).date())
    return (
        (rolled_over | Q(usage_read_at=None, created_at__gte=lately))
        & Q(usage_missing_since=None)
        & ~Q(state=AccountState.DELETED)
    )


def months_chart(filters: UsageFilters, *, missing_now: int, now: datetime) -> dict[str, Any]:
    """Return the chart of twelve months up to the current one, or up to the selected one if it lies outside, for its
    template."""
    last = filters.this_month
    if filters.month > last or filters.month <= month_after(last, -MONTHS):
        last = filters.month
    months = [month_after(last, step) for step in range(1 - MONTHS, 1)]
    sums = _sums(filters, months)
    missing = _missing(filters, months, sums, now) | {filters.month: missing_now}
    ticks, top = _ticks(max((used for used, *_ in sums.values()), default=0))
    return {
        "months": [
            _bar(filters, number, month, sums=sums.get(month), missing=missing[month], top=top)
            for number, month in enumerate(months)
        ],
        "any_gap": any(missing[month] for month in months),
        "ticks": ticks,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "floor": HEIGHT - BOTTOM,
        "gap_height": GAP_HEIGHT,
    }


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


def _missing(filters: UsageFilters, months: list[date], sums: dict[date, Sums], now: datetime) -> dict[date, int]:
    """Return per month how many accounts existed before it and have no usage of a period ending in it. Those whose
    first sync in the current month is still to come are left out."""
    of = Q(connection=filters.connection) if filters.connection else Q()
    accounts = Account.objects.filter(of, provider_id__isnull=False, duplicate_of=None)
    born = _per_month(accounts, "created_at")
    month = filters.this_month
    waiting = accounts.filter(waits_for_first_sync(now), created_at__lt=midnight(month))
    due = {month: waiting.exclude(usage_periods__month=month).count()}
    deletes = Operation.objects.filter(of, kind=OperationKind.DELETE, state=OperationState.SUCCEEDED)
    gone = _per_month(deletes.filter(account__duplicate_of=None), "finished_at")
    found = {}
    for month in months:
        existing = _before(born, month) - _before(gone, month)
        read = sums[month][2] if month in sums else 0
        found[month] = 0 if month > filters.this_month else max(0, existing - read - due.get(month, 0))
    return found


def _per_month(rows: object, moment: str) -> dict[date, int]:
    counted = rows.annotate(of=TruncMonth(moment)).values("of").annotate(n=Count("pk")).order_by()  # type: ignore[attr-defined]
    return {row["of"].date(): row["n"] for row in counted if row["of"]}


def _before(counts: dict[date, int], month: date) -> int:
    return sum(number for of, number in counts.items() if of < month)


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


def _bar(
    filters: UsageFilters, number: int, month: date, *, sums: Sums | None, missing: int, top: int
) -> dict[str, Any]:
    """Return a month's bar. Heights are of its parts, y values of their upper edges; `missing` counts accounts without
    usage data."""
    slot = (WIDTH - LEFT) / MONTHS
    width = round(slot * 0.5, 1)
    x = round(LEFT + slot * number + (slot - width) / 2, 1)
    used, over, _, partial = sums or (0, 0, 0, 0)
    scale = (HEIGHT - TOP - BOTTOM) / top
    over_height, in_height = round((over or 0) * scale, 1), round((used - (over or 0)) * scale, 1)
    in_y = round(HEIGHT - BOTTOM - in_height, 1)
    over_y = round(in_y - over_height, 1)
    gap_y = round(over_y - GAP_HEIGHT, 1) if missing else over_y
    return {
        "month": month,
        "used": used if sums else None,
        "over": over if sums else None,
        "missing": missing,
        "partial": partial,
        "chosen": month == filters.month,
        "open": last_day(month) >= filters.today,
        "x": x,
        "middle": round(x + width / 2, 1),
        "width": width,
        "in_y": in_y,
        "in_height": in_height,
        "over_y": over_y,
        "over_height": over_height,
        "gap_y": gap_y,
        "label_y": round(gap_y - 6, 1),
    }
