"""The month that adjustments go to: the first one after closed ones that no finished run closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from django.core.cache import cache
from django.db.models import Min

from billing.models import MonthClosing, Side, Statement
from billing.usage.periods import month_after


@dataclass(frozen=True, slots=True)
class ClosedMonths:
    """Closed months with customers' statements, each with the first ledger batch of these. `open` is None before the
    first closing."""

    batches: Mapping[date, int]
    open: date | None
    runs: int


def closed_months() -> ClosedMonths:
    """Return the months that a finished run closed. One query, and one for each run that wasn't asked about before."""
    rows = MonthClosing.objects.filter(state=MonthClosing.State.CLOSED).order_by("month", "n")
    runs = list(rows.values_list("pk", "public_id", "month"))
    first = _first_batches([(pk, f"billing.closing.{public_id}.batch") for pk, public_id, _month in runs])
    batches: dict[date, int] = {}
    for pk, _public_id, month in runs:
        # A later run may have closed connections alone.
        if (batch := first[pk]) is not None:
            batches[month] = min(batch, batches.get(month, batch))
    closed = {month for _pk, _public_id, month in runs}
    following = min(closed, default=None)
    while following is not None and following in closed:
        following = month_after(following, 1)
    return ClosedMonths(batches, following, len(runs))


def _first_batches(runs: list[tuple[int, str]]) -> dict[int, int | None]:
    """Return the first batch of each run's customer statements (pk). They never change, so it is kept."""
    kept = cache.get_many([name for _pk, name in runs])
    for pk, name in runs:
        if name not in kept:
            rows = Statement.objects.filter(closing=pk, side=Side.SELL)
            kept[name] = rows.aggregate(first=Min("batch"))["first"]
            cache.set(name, kept[name], timeout=None)
    return {pk: kept[name] for pk, name in runs}


def finished_runs() -> int:
    """Return what changes whenever a run that closes a month ends well."""
    return MonthClosing.objects.filter(state=MonthClosing.State.CLOSED).count()
