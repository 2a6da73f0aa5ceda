"""Billing periods as calendar arithmetic. Periods are inclusive dates without a time zone; they end at midnight UTC.

A period belongs to the month of its last day, whatever month it began in.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

DAY = timedelta(days=1)
# A longer billing period contradicts a monthly one.
LONGEST_PERIOD = timedelta(days=35)


@dataclass(frozen=True, slots=True)
class Period:
    start_on: date
    end_on: date
    inferred: bool = False

    @property
    def ends_at(self) -> datetime:
        return midnight(self.end_on + DAY)

    @property
    def month(self) -> date:
        return self.end_on.replace(day=1)


def unread_seconds(ends_at: datetime, as_of: datetime) -> int:
    """Return the seconds of a period after its last snapshot, at most what the column can store (68 years)."""
    return min(max(0, int((ends_at - as_of).total_seconds())), 2**31 - 1)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def month_after(month: date, steps: int = 1) -> date:
    """Return the first day of the month `steps` later (or earlier, if negative)."""
    index = month.year * 12 + month.month - 1 + steps
    return date(index // 12, index % 12 + 1, 1)


def last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def period_of(start_on: date | None, end_on: date | None, *, known: Period | None, on: date) -> Period:
    """Return the period a snapshot of day `on` belongs to.

    Dates missing from the answer are inferred and marked so: from the account's known period, rolled forward month by
    month, else from the calendar month.
    """
    if start_on and end_on:
        return Period(start_on, end_on)
    if start_on:
        return Period(start_on, _next_start(start_on, start_on.day) - DAY, inferred=True)
    if known is None or known.start_on > on:
        month = on.replace(day=1)
        return Period(month, last_day(month), inferred=True)
    # A short month may hide the anchor day; the later day of the two ends is the closer one.
    anchor = max(known.start_on.day, (known.end_on + DAY).day)
    rolled = Period(known.start_on, known.end_on, inferred=True)
    while rolled.end_on < on:
        start = rolled.end_on + DAY
        rolled = Period(start, _next_start(start, anchor) - DAY, inferred=True)
    return rolled


def _next_start(start: date, anchor: int) -> date:
    following = month_after(start.replace(day=1))
    return following.replace(day=min(anchor, last_day(following).day))
