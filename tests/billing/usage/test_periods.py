"""The calendar, without a database."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from billing.reports.month_chart import nice_top
from billing.usage.periods import DAY, Period, last_day, midnight, month_after, period_of, unread_seconds

days = st.dates(date(2020, 1, 1), date(2040, 1, 1))


def test_a_period_belongs_to_the_month_of_its_last_day() -> None:
    assert Period(date(2026, 10, 15), date(2026, 11, 14)).month == date(2026, 11, 1)
    assert Period(date(2026, 10, 1), date(2026, 10, 31)).month == date(2026, 10, 1)


def test_the_unread_rest_of_a_period_is_never_negative() -> None:
    end = midnight(date(2026, 11, 1))
    assert [unread_seconds(end, end - timedelta(seconds=part)) for part in (60, 0, -60)] == [60, 0, 0]
    assert unread_seconds(end + timedelta(days=40_000), end) == 2**31 - 1


def test_what_the_answer_says_is_never_changed() -> None:
    assert period_of(date(2026, 1, 5), date(2026, 1, 9), known=None, on=date(2030, 1, 1)) == Period(
        date(2026, 1, 5), date(2026, 1, 9)
    )


@given(anchor=st.integers(1, 31), first=days, later=st.integers(0, 1200))
def test_a_known_period_rolls_forward_without_gap_or_overlap(anchor: int, first: date, later: int) -> None:
    start = first.replace(day=min(anchor, last_day(first).day))
    following = month_after(start.replace(day=1))
    known = Period(start, following.replace(day=min(anchor, last_day(following).day)) - DAY)
    on = start + timedelta(days=later)
    found = period_of(None, None, known=known, on=on)
    assert found.start_on <= on <= found.end_on
    assert 27 <= (found.end_on - found.start_on).days <= 30
    assert found.start_on.day in (anchor, last_day(found.start_on).day)


@example(highest=6, parts=4)
@given(highest=st.integers(0, 10**12), parts=st.integers(2, 5))
def test_a_scale_is_round_and_high_enough(highest: int, parts: int) -> None:
    top, values = nice_top(highest, parts)
    assert top >= highest
    assert values[0] == 0
    assert values[-1] == top
    assert 2 <= len(values) <= parts + 2
    assert len({b - a for a, b in pairwise(values)}) == 1
