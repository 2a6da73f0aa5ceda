"""The calendar, without a database."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing.reports.month_chart import nice_top
from billing.usage.periods import (
    DAY,
    LONGEST_PERIOD,
    Period,
    last_day,
    learned_anchor,
    month_after,
    period_of,
)

days = st.dates(date(2020, 1, 1), date(2040, 1, 1))
anchors = st.integers(1, 31)
YEARS = 7  # 2026 to 2032, with two leap Februaries


def true_periods(anchor: int, first: int = 0, count: int = YEARS * 12) -> list[Period]:
    """Periods of an account from the month `first` after January 2026 on."""
    months = [month_after(date(2026, 1, 1), first + n) for n in range(count + 1)]
    starts = [month.replace(day=min(anchor, last_day(month).day)) for month in months]
    return [Period(start, following - DAY) for start, following in pairwise(starts)]


def dates_of(periods: list[Period]) -> list[tuple[date, date]]:
    return [(each.start_on, each.end_on) for each in periods]


def is_certain(start: date) -> bool:
    return start.day == 31 or start != last_day(start)


def test_a_period_belongs_to_the_month_of_its_last_day() -> None:
    assert Period(date(2026, 10, 15), date(2026, 11, 14)).month == date(2026, 11, 1)
    assert Period(date(2026, 10, 1), date(2026, 10, 31)).month == date(2026, 10, 1)


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


@pytest.mark.parametrize("anchor", range(1, 32))
def test_every_day_belongs_to_one_period_of_its_anchor(anchor: int) -> None:
    truth = true_periods(anchor)
    known = truth[30]
    found = [
        period_of(None, None, known=known, on=truth[0].start_on + timedelta(days=n))
        for n in range((truth[-1].end_on - truth[0].start_on).days + 1)
    ]
    distinct = list(dict.fromkeys(dates_of(found)))
    assert distinct == dates_of(truth), "before and after the known period"
    assert sum((end - start).days + 1 for start, end in distinct) == len(found)


@given(anchor=anchors, first=st.integers(0, 24))
def test_periods_that_start_alone_is_known_of_do_not_overlap(anchor: int, first: int) -> None:
    """As a caller learns: from the periods it has stored so far."""
    truth = true_periods(anchor, first, 40)
    found: list[Period] = []
    for true in truth:
        known = found[-1] if found else None
        found.append(period_of(true.start_on, None, known=known, on=true.start_on, anchor=learned_anchor(found[-2:])))
    for one, following in pairwise(found):
        assert one.end_on < following.start_on
    for one, true in zip(found, truth, strict=True):
        assert one.start_on == true.start_on
        assert one.end_on == true.end_on or (one.inferred and one.end_on < true.end_on)
    learned = next(n for n, true in enumerate(truth) if is_certain(true.start_on))
    assert learned <= 1, "of two months one has 31 days"
    assert dates_of(found[learned:]) == dates_of(truth[learned:]), "then without gap"
    assert not any(each.inferred for each in found[learned:])


ANSWERS = st.lists(st.sampled_from(("both", "start", "none")), min_size=1, max_size=40)


@example(anchor=31, first=9, answers=["none", "none", "none", "start"], day=0)  # the start: 28 February
@given(anchor=anchors, first=st.integers(0, 24), answers=ANSWERS, day=st.integers(0, 27))
def test_one_whole_period_tells_all_that_follow(anchor: int, first: int, answers: list[str], day: int) -> None:
    truth = true_periods(anchor, first, len(answers) + 1)
    found = [truth[0]]
    for true, answer in zip(truth[1:], answers, strict=True):
        start_on = None if answer == "none" else true.start_on
        end_on = true.end_on if answer == "both" else None
        read_on = true.start_on + timedelta(days=day)
        learned = learned_anchor(found[-2:])
        one = period_of(start_on, end_on, known=found[-1], on=read_on, anchor=learned)
        assert (one.start_on, one.end_on) == (true.start_on, true.end_on)
        certain = learned is not None or is_certain(one.start_on)
        assert one.inferred is {"both": False, "start": not certain, "none": True}[answer]
        found.append(one)


@pytest.mark.parametrize(
    ("start", "anchor", "end", "inferred"),
    [
        (date(2027, 2, 28), 31, date(2027, 3, 30), False),
        (date(2027, 2, 28), 30, date(2027, 3, 29), False),
        (date(2027, 2, 28), 29, date(2027, 3, 28), False),
        (date(2027, 2, 28), 28, date(2027, 3, 27), False),
        (date(2027, 2, 28), None, date(2027, 3, 27), True),
        (date(2028, 2, 29), 31, date(2028, 3, 30), False),
        (date(2028, 2, 29), None, date(2028, 3, 28), True),
        (date(2028, 2, 28), None, date(2028, 3, 27), False),
        (date(2027, 4, 30), None, date(2027, 5, 29), True),
        (date(2027, 4, 30), 31, date(2027, 5, 30), False),
        (date(2027, 1, 31), None, date(2027, 2, 27), False),
        (date(2027, 1, 30), None, date(2027, 2, 27), False),
        (date(2027, 3, 10), 31, date(2027, 4, 9), False),  # restarted on another day
        (date(2027, 2, 28), 15, date(2027, 3, 27), True),  # restarted, on a day that may hide a later one
    ],
)
def test_the_end_follows_from_the_start_and_the_anchor(
    start: date, anchor: int | None, end: date, inferred: bool
) -> None:
    assert period_of(start, None, known=None, on=start, anchor=anchor) == Period(start, end, inferred=inferred)


@pytest.mark.parametrize(
    ("periods", "anchor"),
    [
        ([], None),
        ([Period(date(2027, 1, 31), date(2027, 2, 27))], 31),
        ([Period(date(2027, 2, 28), date(2027, 3, 30))], 31),
        ([Period(date(2027, 2, 28), date(2027, 3, 28))], 29),
        ([Period(date(2027, 2, 28), date(2027, 3, 27))], 28),
        ([Period(date(2027, 2, 28), date(2027, 3, 27), inferred=True)], None),
        # A period of another length is not a whole one, as where an upgrade restarted it.
        ([Period(date(2027, 4, 30), date(2027, 5, 9))], None),
        ([Period(date(2027, 1, 1), date(2027, 2, 28))], None),
        ([Period(date(2027, 3, 31), date(2027, 4, 29)), Period(date(2027, 4, 30), date(2027, 5, 9))], 31),
        ([Period(date(2027, 5, 10), date(2027, 6, 9)), Period(date(2027, 3, 31), date(2027, 4, 29))], 10),
    ],
)
def test_the_anchor_is_that_of_the_newest_whole_period(periods: list[Period], anchor: int | None) -> None:
    assert learned_anchor(periods) == anchor


def test_a_restarted_period_rolls_on_from_its_end() -> None:
    restarted = Period(date(2027, 4, 30), date(2027, 5, 9))
    for on, start, end in ((15, 10, 9), (1, 30, 9)):
        found = period_of(None, None, known=restarted, on=date(2027, 5, on), anchor=31)
        assert (found.start_on.day, found.end_on.day, found.inferred) == (start, end, True)


@pytest.mark.parametrize(("days_long", "too_long"), [(31, False), (35, False), (36, True), (1, False)])
def test_a_period_is_at_most_35_days_long(days_long: int, too_long: bool) -> None:
    found = Period(date(2027, 1, 1), date(2027, 1, 1) + timedelta(days=days_long - 1))
    assert found.length == timedelta(days=days_long)
    assert found.is_too_long is too_long
    assert LONGEST_PERIOD.days == 35


@given(anchor=anchors)
def test_no_monthly_period_is_too_long(anchor: int) -> None:
    assert not any(each.is_too_long for each in true_periods(anchor))
    assert {each.anchor for each in true_periods(anchor)} == {anchor}


@example(highest=6, parts=4)
@given(highest=st.integers(0, 10**12), parts=st.integers(2, 5))
def test_a_scale_is_round_and_high_enough(highest: int, parts: int) -> None:
    top, values = nice_top(highest, parts)
    assert top >= highest
    assert values[0] == 0
    assert values[-1] == top
    assert 2 <= len(values) <= parts + 2
    assert len({b - a for a, b in pairwise(values)}) == 1
