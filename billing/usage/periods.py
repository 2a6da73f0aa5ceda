"""Billing periods as calendar arithmetic. Periods are inclusive dates without a time zone; they end at midnight UTC.

A period belongs to the month of its last day, whatever month it began in.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.utils.formats import date_format

DAY = timedelta(days=1)
_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])")
# A month, and some days for a provider that restarts a period late. What is longer contradicts a monthly bill.
LONGEST_PERIOD = timedelta(days=35)
LONGEST_MONTH = 31


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

    @property
    def length(self) -> timedelta:
        return self.end_on + DAY - self.start_on

    @property
    def is_too_long(self) -> bool:
        return self.length > LONGEST_PERIOD

    @property
    def anchor(self) -> int | None:
        """The day on which this period and the next one start; None if the period is not a whole month from it."""
        following = self.end_on + DAY
        day = max(self.start_on.day, following.day)
        is_next = following.replace(day=1) == month_after(self.start_on.replace(day=1))
        return day if is_next and _fits(self.start_on, day) and _fits(following, day) else None


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def month_or_none(text: str) -> date | None:
    """Return the first day of a month such as "2026-11", or None."""
    match = _MONTH.fullmatch(text)
    return date(int(match[1]), int(match[2]), 1) if match else None


def month_words(month: date) -> str:
    return date_format(month, "F Y")


def month_after(month: date, steps: int = 1) -> date:
    """Return the first day of the month `steps` later (or earlier, if negative)."""
    index = month.year * 12 + month.month - 1 + steps
    return date(index // 12, index % 12 + 1, 1)


def last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def period_of(
    start_on: date | None, end_on: date | None, *, known: Period | None, on: date, anchor: int | None = None
) -> Period:
    """Return the period a snapshot of day `on` belongs to.

    Dates missing from the answer are inferred and marked so: from the account's known period, rolled month by month,
    else from the calendar month. Where only the end is missing, it follows from the account's anchor day, and is marked
    only if that is not certain.

    `known`: the account's latest period. `anchor`: its anchor day as `learned_anchor` returns it.
    """
    if start_on and end_on:
        return Period(start_on, end_on)
    if start_on:
        return _from_start(start_on, known, anchor)
    if known is None:
        month = on.replace(day=1)
        return Period(month, last_day(month), inferred=True)
    return _rolled(known, anchor, on)


def usual_end(start_on: date) -> date:
    """Return the last day of a monthly period with this first day."""
    return period_of(start_on, None, known=None, on=start_on).end_on


def latest_end(start_on: date, end_on: date) -> date:
    """Return the last day that a period with an inferred end may have: one that starts on the last day of a month may
    have an anchor day up to the 31st."""
    following = month_after(start_on.replace(day=1))
    return max(end_on, _boundary(following, LONGEST_MONTH) - DAY) if start_on == last_day(start_on) else end_on


def learned_anchor(periods: Iterable[Period]) -> int | None:
    """Return the anchor day of an account, on which its periods start, or None if it is not known.

    A month that is shorter than the anchor day hides it: a period that starts on 28 February may have the anchor 28,
    29, 30 or 31. A whole period tells: of two consecutive months one has 31 days. The newest whole period counts, and
    inferred ones do not.
    """
    newest_first = sorted(periods, key=lambda each: each.start_on, reverse=True)
    return next((each.anchor for each in newest_first if each.anchor and not each.inferred), None)


def _from_start(start_on: date, known: Period | None, anchor: int | None) -> Period:
    # A day that does not fit was not learned, or the provider restarted the period on another one.
    candidates = (anchor, known.anchor if known else None, start_on.day)
    day = next(each for each in candidates if each and _fits(start_on, each))
    # The last day of a shorter month may hide a later anchor day.
    certain = _fits(start_on, anchor) or start_on != last_day(start_on) or start_on.day == LONGEST_MONTH
    return Period(start_on, _boundary(month_after(start_on.replace(day=1)), day) - DAY, inferred=not certain)


def _rolled(known: Period, anchor: int | None, on: date) -> Period:
    """Return the period of the day `on`, with the same anchor day before and after the known period."""
    start, following = known.start_on, known.end_on + DAY
    day = known.anchor or (anchor if anchor and _fits(following, anchor) else following.day)
    while following <= on:
        start, following = following, _boundary(month_after(following.replace(day=1)), day)
    while start > on:
        start, following = _boundary(month_after(start.replace(day=1), -1), day), start
    return Period(start, following - DAY, inferred=True)


def _boundary(month: date, anchor: int) -> date:
    """Return the day of the month on which a period starts."""
    return month.replace(day=min(anchor, last_day(month).day))


def _fits(day: date, anchor: int | None) -> bool:
    return anchor is not None and day == _boundary(day.replace(day=1), anchor)
