"""Status of a figure as pure functions: examples, and that the truth is never outside the figure whatever happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.models import Status
from billing.usage.assess import (
    LAG,
    PACIFIC,
    Assessment,
    EndEvidence,
    PeriodFacts,
    Reason,
    Resets,
    assess,
    days_touched,
    resets_of,
    settled_at,
)
from billing.usage.reset_zones import RollOver, pacific_midnight
from billing.usage.series import SeriesReading, series_of
from billing.usage.statistics import Statistics
from tests.support.samples import is_proof

END_ON = date(2026, 11, 30)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
LATER = MIDNIGHT + timedelta(days=10)


def facts(read_at: datetime, **more: object) -> PeriodFacts:
    known = {"resets": resets_of(END_ON), "since": read_at, "read_at": read_at, "next_seen_at": LATER}
    return PeriodFacts(**(known | more))


def figure(evidence: EndEvidence, *, used: int = 100, read_at: datetime | None = None, **more: object) -> Assessment:
    at = read_at or MIDNIGHT - timedelta(minutes=4)
    return assess(series_of([SeriesReading(1, at, used)], ceiling=250), facts(at, **more), evidence, now=LATER)


# --- Examples -----------------------------------------------------------------------------------------------------


def test_a_reading_before_the_end_alone_is_an_interval() -> None:
    found = figure(EndEvidence(ceiling=250))
    assert (found.status, found.reason, found.low, found.high) == (
        Status.INTERVAL, Reason.NOT_READ_TO_END, 100, 250,
    )  # fmt: skip


def test_without_any_limit_there_is_no_known_most() -> None:
    assert figure(EndEvidence()).high is None


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (EndEvidence(ceiling=250, could_send=False), Reason.NOT_SENDING),
        (EndEvidence(ceiling=250, after_last=0), Reason.NOTHING_SENT),
        (EndEvidence(ceiling=100), Reason.CEILING),
    ],
)
def test_what_proves_that_nothing_was_sent_is_final(evidence: EndEvidence, reason: str) -> None:
    found = figure(evidence)
    assert (found.status, found.reason, found.low, found.high) == (Status.FINAL, reason, 100, 100)


def test_statistics_narrow_the_interval() -> None:
    found = figure(EndEvidence(ceiling=250, after_last=30))
    assert (found.status, found.low, found.high) == (Status.INTERVAL, 100, 130)


@pytest.mark.parametrize(("derived", "status"), [(110, Status.DERIVED), (99, Status.INTERVAL), (131, Status.INTERVAL)])
def test_a_derived_figure_has_to_be_possible(derived: int, status: str) -> None:
    found = figure(EndEvidence(ceiling=250, after_last=30, derived=derived))
    assert found.status == status
    if status == Status.DERIVED:
        assert (found.low, found.high) == (110, 110)


@pytest.mark.parametrize(("hours", "status"), [(7.99, Status.INTERVAL), (8, Status.FINAL)])
def test_two_equal_readings_after_the_end_are_final(hours: float, status: str) -> None:
    after = resets_of(END_ON).latest
    again = after + timedelta(hours=hours)
    read = facts(again, since=MIDNIGHT - timedelta(hours=3), read_after_end_at=after)
    found = assess(series_of([SeriesReading(1, read.since, 100)], ceiling=None), read, EndEvidence(), now=LATER)
    assert found.status == status


def test_the_second_reading_counts_from_the_last_change() -> None:
    after = resets_of(END_ON).latest
    read = facts(after + timedelta(hours=9), since=after + timedelta(hours=2), read_after_end_at=after)
    found = assess(series_of([SeriesReading(1, read.since, 100)], ceiling=None), read, EndEvidence(), now=LATER)
    assert found.status == Status.INTERVAL


def test_the_reset_is_open_between_both_midnights() -> None:
    unknown, utc, pacific = (resets_of(END_ON, zone=zone) for zone in ("", "UTC", PACIFIC.key))
    assert (utc.earliest, utc.latest) == (MIDNIGHT, MIDNIGHT)
    assert pacific.earliest == MIDNIGHT + timedelta(hours=8)
    assert pacific.latest == MIDNIGHT + timedelta(hours=8, minutes=1)
    assert (unknown.earliest, unknown.latest) == (MIDNIGHT, pacific.latest)
    in_summer = resets_of(date(2026, 6, 30), zone=PACIFIC.key)
    assert in_summer.earliest == datetime(2026, 7, 1, 7, tzinfo=UTC)


def test_touched_days_are_those_of_every_time_zone() -> None:
    window = (MIDNIGHT - timedelta(hours=8), MIDNIGHT)
    assert days_touched(*window) == [date(2026, 11, 30), date(2026, 12, 1)]
    assert days_touched(MIDNIGHT - timedelta(hours=13), MIDNIGHT)[0] == date(2026, 11, 29)
    ends_in_kiritimati = MIDNIGHT - timedelta(hours=14)
    assert days_touched(ends_in_kiritimati, ends_in_kiritimati)[-1] == date(2026, 12, 1)
    assert settled_at(date(2026, 12, 1)) == datetime(2026, 12, 4, 12, tzinfo=UTC)


def test_a_day_that_may_still_change_proves_nothing() -> None:
    day = date(2026, 12, 1)
    settled, early = settled_at(day), settled_at(day) - timedelta(seconds=1)
    assert Statistics({day: (0, settled)}).settled([day]) == 0
    assert Statistics({day: (0, early)}).settled([day]) is None
    assert Statistics({day: (0, settled)}).settled([day, END_ON]) is None


def test_statistics_below_credits_leave_something_out() -> None:
    statistics = Statistics({END_ON: (90, LATER)})
    assert statistics.covers([(MIDNIGHT, 90)], begun_at=MIDNIGHT - timedelta(days=30))
    assert not statistics.covers([(MIDNIGHT, 91)], begun_at=MIDNIGHT - timedelta(days=30))


# --- Whatever happens, the truth is in the figure -----------------------------------------------------------------

EXAMPLES = 5_000 if is_proof() else 150
BEGUN = datetime(2026, 11, 25, tzinfo=UTC)
MINUTES = int((MIDNIGHT + timedelta(days=2) - BEGUN).total_seconds()) // 60


@dataclass(frozen=True)
class World:
    """A provider: when mail was sent (minute, emails), and how it tells of it. Times in minutes since `BEGUN`."""

    mail: list[tuple[int, int]]
    zone: str
    account_zone: str
    lag: int
    lingers: int
    reads: list[int]

    @property
    def reset(self) -> datetime:
        return MIDNIGHT if self.zone == "UTC" else pacific_midnight(END_ON + timedelta(days=1))

    def sent(self, until: datetime) -> int:
        return sum(count for minute, count in self.mail if BEGUN + timedelta(minutes=minute) < until)

    @property
    def truth(self) -> int:
        return self.sent(self.reset)

    def answer(self, at: datetime) -> int | None:
        """What the provider says of the ended period; None once it shows the new one."""
        if at >= self.reset + timedelta(minutes=self.lingers):
            return None
        return self.sent(min(self.reset, at - timedelta(minutes=self.lag)))

    def statistics(self) -> Statistics:
        zone, days = ZoneInfo(self.account_zone), {}
        for offset in range(-3, 12):
            days[BEGUN.date() + timedelta(days=offset)] = (0, LATER)
        for minute, count in self.mail:
            day = (BEGUN + timedelta(minutes=minute)).astimezone(zone).date()
            days[day] = (days.get(day, (0, LATER))[0] + count, LATER)
        return Statistics(days)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    near = st.integers(MINUTES - 4000, MINUTES)
    last = draw(near)
    before = st.integers(0, 9 * 60).map(lambda minutes: last - minutes)
    return World(
        mail=draw(st.lists(st.tuples(near | before, st.integers(1, 90_000)), max_size=8)),
        zone=draw(st.sampled_from(["UTC", PACIFIC.key])),
        account_zone=draw(
            st.sampled_from(["UTC", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata", "Europe/Berlin"])
        ),
        lag=draw(st.integers(0, int(LAG.total_seconds()) // 60)),
        lingers=draw(st.integers(0, 24 * 60)),
        reads=sorted({*draw(st.sets(near, max_size=6)), last}),
    )


def readings_of(world: World) -> tuple[list[SeriesReading], PeriodFacts] | None:
    """What the portal stores of these reads: a row for every change, and when the last value was confirmed."""
    resets = resets_of(END_ON)
    rows: list[SeriesReading] = []
    read_at, after, seen = None, None, None
    for number, minute in enumerate(world.reads):
        at = BEGUN + timedelta(minutes=minute)
        used = world.answer(at)
        if used is None:
            seen = seen or at
            continue
        read_at = at
        if not rows or rows[-1].used != used:
            rows.append(SeriesReading(number, at, used))
        if at >= resets.latest and after is None:
            after = at
    if read_at is None:
        return None
    return rows, PeriodFacts(resets, rows[-1].at, read_at, after, seen)


@settings(max_examples=EXAMPLES)
@given(worlds(), st.booleans())
def test_the_truth_is_inside_every_figure(world: World, with_statistics: bool) -> None:
    found = readings_of(world)
    if found is None:
        return
    rows, read = found
    days = world.statistics().settled(days_touched(*read.resets.window(read.read_at))) if with_statistics else None
    evidence = EndEvidence(ceiling=1_000_000, after_last=days)
    result = assess(series_of(rows, ceiling=1_000_000), read, evidence, now=LATER)
    assert result.high is not None
    assert result.low <= world.truth <= result.high, result
    if result.status == Status.FINAL:
        assert result.low == world.truth


@settings(max_examples=EXAMPLES)
@given(worlds())
def test_a_roll_over_proves_no_wrong_zone_without_lingering(world: World) -> None:
    found = readings_of(world)
    if found is None or found[1].next_seen_at is None or world.lingers:
        return
    rolled = RollOver(1, END_ON, found[1].read_at, found[1].next_seen_at)
    assert rolled.zone in ("", world.zone)


@settings(max_examples=EXAMPLES)
@given(worlds())
def test_lingering_answers_never_prove_utc_wrongly(world: World) -> None:
    """A wrong UTC would shorten the time in which more may have been sent; a wrong Pacific time only extends it."""
    found = readings_of(world)
    if found is None or found[1].next_seen_at is None:
        return
    rolled = RollOver(1, END_ON, found[1].read_at, found[1].next_seen_at)
    assert not (rolled.zone == "UTC" and world.zone != "UTC")


def test_mail_may_be_missing_from_a_counter_for_eight_hours() -> None:
    resets = resets_of(END_ON, zone="UTC")
    assert resets.window(MIDNIGHT - timedelta(hours=1)) == (MIDNIGHT - timedelta(hours=9), MIDNIGHT)


def test_a_window_never_ends_before_it_begins() -> None:
    resets = Resets(MIDNIGHT, MIDNIGHT)
    assert resets.window(MIDNIGHT + timedelta(days=2)) == (MIDNIGHT, MIDNIGHT)
