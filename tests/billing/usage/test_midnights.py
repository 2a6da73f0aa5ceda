"""Calibration and derived figures as pure functions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.models import MidnightReading
from billing.usage.assess import DAY, resets_of
from billing.usage.midnights import WINDOWS, calibrate, derived
from billing.usage.statistics import Statistics

START_ON, END_ON = date(2026, 11, 1), date(2026, 11, 30)
NEXT_ON = date(2026, 12, 1)
# A day with more mail than all others.
BUSY_ON, BUSY = date(2026, 11, 25), 12
LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)


def at(day: date, used: int, *, start_on: date = START_ON, seconds: int = 10) -> MidnightReading:
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds)
    return MidnightReading(account_id=1, day=day, zone="UTC", at=moment, reported_start_on=start_on, used=used)


def steady(first: date, count: int, *, busy: int = BUSY) -> list[MidnightReading]:
    days = [first + n * DAY for n in range(count)]
    return [at(day, n * 10 + (busy - 10 if first <= BUSY_ON < day else 0)) for n, day in enumerate(days)]


def statistics(**days: int) -> Statistics:
    every = {date(2026, 10, 1) + n * DAY: (10, LONG_AFTER) for n in range(80)} | {BUSY_ON: (BUSY, LONG_AFTER)}
    return Statistics(every | {date.fromisoformat(day): (count, LONG_AFTER) for day, count in days.items()})


def test_seven_equal_windows_calibrate() -> None:
    found = calibrate(steady(date(2026, 11, 20), 8), statistics(), until=END_ON)
    assert found.is_calibrated
    assert [(each.first_on, each.last_on, each.credits, each.requests) for each in found.windows][-1] == (
        date(2026, 11, 26), date(2026, 11, 26), 10, 10,
    )  # fmt: skip


@pytest.mark.parametrize("broken", range(20, 27))
def test_one_difference_is_enough(broken: int) -> None:
    found = calibrate(steady(date(2026, 11, 20), 8), statistics(**{f"2026-11-{broken}": 13}), until=END_ON)
    assert not found.is_calibrated
    assert sum(each.difference != 0 for each in found.windows) == 1


def test_windows_of_one_rate_prove_nothing() -> None:
    """A counter that lags by some hours misses as much at the end of each window as at its start."""
    found = calibrate(steady(date(2026, 11, 20), 8, busy=10), statistics(**{"2026-11-25": 10}), until=END_ON)
    assert [each.difference for each in found.windows] == [0] * WINDOWS
    assert not found.is_calibrated


def test_windows_without_mail_are_not_compared() -> None:
    """They are equal also for a counter that lags, or statistics that leave out subusers."""
    idle = {f"2026-11-{day}": 0 for day in range(10, 20)}
    readings = [*(at(date(2026, 11, 10) + n * DAY, 0) for n in range(10)), *steady(date(2026, 11, 20), 7)]
    found = calibrate(readings, statistics(**idle), until=END_ON)
    assert [each.first_on.day for each in found.windows] == [20, 21, 22, 23, 24, 25]
    assert not found.is_calibrated


def test_six_windows_are_not_enough() -> None:
    assert not calibrate(steady(date(2026, 11, 20), 7), statistics(), until=END_ON).is_calibrated


def test_only_the_last_seven_count() -> None:
    found = calibrate(steady(date(2026, 11, 20), 9), statistics(**{"2026-11-20": 99}), until=END_ON)
    assert found.is_calibrated
    assert len(found.windows) == WINDOWS


def test_windows_across_a_reset_or_long_ago_are_not_compared() -> None:
    new = [at(NEXT_ON + n * DAY, n * 10, start_on=NEXT_ON) for n in range(3)]
    found = calibrate([*steady(date(2026, 11, 24), 6), *new], statistics(), until=date(2026, 12, 3))
    assert len(found.windows) == 7
    assert found.is_calibrated
    assert not calibrate(steady(date(2026, 11, 20), 8), statistics(), until=date(2027, 1, 20)).windows


def test_a_day_that_may_change_is_not_compared() -> None:
    young = Statistics({day: (10, datetime(2026, 11, 24, tzinfo=UTC)) for day in statistics().days})
    assert len(calibrate(steady(date(2026, 11, 20), 8), young, until=END_ON).windows) == 1


def of_period(readings: list[MidnightReading], known: Statistics | None = None, zone: str = "") -> int | None:
    return derived(
        readings,
        known or statistics(),
        reported_start_on=START_ON,
        end_on=END_ON,
        resets=resets_of(END_ON, zone=zone),
    )


def test_the_end_follows_from_readings_around_it() -> None:
    burst = statistics(**{"2026-11-30": 9_010})
    readings = [at(END_ON, 290), at(NEXT_ON + DAY, 10, start_on=NEXT_ON)]
    assert of_period(readings, burst) == 290 + 9_010 + 10 - 10
    assert of_period([at(END_ON - DAY, 280), readings[1]], burst) == 9_300


def test_a_reading_soon_after_the_reset_is_not_used() -> None:
    """Counters lag: it lacks other mail than the reading before the end."""
    before, soon, later = at(END_ON, 290), at(NEXT_ON, 0, start_on=NEXT_ON), at(NEXT_ON + DAY, 7, start_on=NEXT_ON)
    assert of_period([before, soon], zone="UTC") is None
    assert of_period([before, soon, later], zone="UTC") == 290 + 20 - 7


@pytest.mark.parametrize(
    "readings",
    [
        [],
        [at(END_ON, 290)],
        [at(NEXT_ON + DAY, 10, start_on=NEXT_ON)],
        [at(END_ON, 290), at(NEXT_ON + 3 * DAY, 30, start_on=NEXT_ON)],  # too late
        [at(END_ON, 290), at(date(2027, 1, 2), 10, start_on=date(2027, 1, 1))],  # of another period
        [at(END_ON, 290, start_on=date(2026, 10, 1)), at(NEXT_ON + DAY, 10, start_on=NEXT_ON)],
    ],
)
def test_without_both_readings_nothing_follows(readings: list[MidnightReading]) -> None:
    assert of_period(readings) is None


def test_a_lingering_answer_is_no_reading_before_the_end() -> None:
    """After the reset it may linger with its final number, while its day goes on."""
    lingering = at(NEXT_ON, 300)
    later = at(NEXT_ON + DAY, 10, start_on=NEXT_ON)
    assert of_period([lingering, later]) is None
    assert of_period([at(END_ON, 290), lingering, later]) == 290 + 20 - 10
