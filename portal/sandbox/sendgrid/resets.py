"""Billing periods: monthly, from midnight of the anchor day in the zone of the resets.

A restart ends the running period at that moment: its last day is the day before, the next period begins on the day of
the restart, and that day becomes the anchor.
"""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from portal.sandbox.clock import day_of, midnight


@dataclass(frozen=True, slots=True)
class Period:
    """A billing period. `start` and `end` (the next reset) are the dates that answers show; `starts_at` and
    `resets_at` the moments between which its mail is counted."""

    start: date
    end: date
    starts_at: int
    resets_at: int


@dataclass(frozen=True, slots=True)
class Billing:
    """Settings of an account's billing periods. `restarts` are times, sorted."""

    anchor_day: int
    zone: str = "UTC"
    restarts: Sequence[float] = ()


CALENDAR_MONTHS = Billing(1)


def period_at(billing: Billing, moment: float) -> Period:
    """Return the billing period of a moment; an anchor of 29 to 31 is the last day of a shorter month."""
    zone, restarts = billing.zone, billing.restarts
    index = bisect_right(restarts, moment)
    restart = int(restarts[index - 1]) if index else None
    anchor_day = billing.anchor_day if restart is None else day_of(restart, zone).day
    start, end = _dates(anchor_day, day_of(moment, zone))
    starts_at, resets_at = midnight(start, zone), midnight(end, zone)
    if restart is not None:
        starts_at = max(starts_at, restart)
    if index < len(restarts) and restarts[index] < resets_at:
        resets_at = int(restarts[index])
        end = day_of(resets_at, zone)
    return Period(start, end, starts_at, resets_at)


def periods(billing: Billing, first: float, now: float) -> Iterator[Period]:
    """Yield every billing period from that of `first` to that of now."""
    period = period_at(billing, first)
    while period.starts_at <= now:
        yield period
        period = period_at(billing, period.resets_at)


def _dates(anchor_day: int, day: date) -> tuple[date, date]:
    start = _anchored(day.year, day.month, anchor_day)
    if start > day:
        start = _anchored(*_month_after(day.year, day.month, -1), anchor_day)
    return start, _anchored(*_month_after(start.year, start.month, 1), anchor_day)


def _anchored(year: int, month: int, anchor_day: int) -> date:
    return date(year, month, min(anchor_day, monthrange(year, month)[1]))


def _month_after(year: int, month: int, step: int) -> tuple[int, int]:
    index = year * 12 + month - 1 + step
    return index // 12, index % 12 + 1
