"""Usage engine: computes usage as a pure function of an account's history and the time.

Nothing is counted as it happens. Every figure is computed from a few changes of state, plan and sending profile, so
that credits, statistics, the v2 overview and the actual usage cannot disagree, and moving the clock by a year costs
nothing. Mail is sent evenly through the day, also in the last minutes of a billing period.
"""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from portal.sandbox.clock import DAY, day_of, midnight

TEST_CAP_PER_DAY = 100
FREE_CAP_PER_DAY = 100
# Numerator and denominator of the ceiling over the plan's allotment: sending stops at 2.5 times.
CEILING = (5, 2)


@dataclass(frozen=True, slots=True)
class Sending:
    """Sending profile: a volume per day, shaped by weekday, growth and fixed jitter."""

    per_day: float = 0.0
    weekday: tuple[float, ...] = (1.0,) * 7
    growth_per_month: float = 0.0
    jitter: float = 0.0
    seed: int = 0
    since: float = 0.0

    def volume(self, day: date) -> int:
        if not self.per_day:
            return 0
        months = max(0, (day - day_of(self.since)).days) / 30.4375
        wanted: float = self.per_day * self.weekday[day.weekday()] * (1 + self.growth_per_month) ** months
        return max(0, round(wanted * (1 + self.jitter * (2 * _noise(self.seed, day.toordinal()) - 1))))


@dataclass(frozen=True, slots=True)
class Moment:
    """State that applies from one time until the next change."""

    at: float
    active: bool = False
    allotment: int = 0
    free: bool = False
    sending: Sending = field(default_factory=Sending)


@dataclass(frozen=True, slots=True)
class History:
    """History of an account. `moments` and `added` (time, requests) are sorted by time; nothing is sent before the
    first moment."""

    moments: Sequence[Moment]
    added: Sequence[tuple[float, int]]
    anchor_day: int
    test: bool = False


@dataclass(frozen=True, slots=True)
class Cycle:
    """A billing period, from midnight of `start` up to midnight of `end` (the next reset)."""

    start: date
    end: date


@dataclass(frozen=True, slots=True)
class DayUse:
    day: date
    attempted: int
    used: int


@dataclass(frozen=True, slots=True)
class CycleUse:
    cycle: Cycle
    allowed: int
    attempted: int
    used: int

    @property
    def remain(self) -> int:
        return max(0, self.allowed - self.used)

    @property
    def overage(self) -> int:
        return max(0, self.used - self.allowed)


def cycle_at(anchor_day: int, day: date) -> Cycle:
    """Return the monthly billing period of `day`; an anchor of 29 to 31 is the last day of a shorter month."""
    start = _anchored(day.year, day.month, anchor_day)
    if start > day:
        start = _anchored(*_month_after(day.year, day.month, -1), anchor_day)
    return Cycle(start, _anchored(*_month_after(start.year, start.month, 1), anchor_day))


def cycles(history: History, now: float) -> Iterator[Cycle]:
    """Yield every billing period from the account's first day to now, including the current one."""
    if not history.moments or history.moments[0].at > now:
        return
    cycle = cycle_at(history.anchor_day, day_of(history.moments[0].at))
    while midnight(cycle.start) <= now:
        yield cycle
        cycle = cycle_at(history.anchor_day, cycle.end)


def cycle_use(history: History, cycle: Cycle, now: float) -> CycleUse:
    days = list(cycle_days(history, cycle, now))
    in_force = _in_force(history, min(int(now), midnight(cycle.end) - 1))
    return CycleUse(
        cycle=cycle,
        allowed=in_force.allotment if in_force else 0,
        attempted=sum(day.attempted for day in days),
        used=sum(day.used for day in days),
    )


def cycle_days(history: History, cycle: Cycle, now: float) -> Iterator[DayUse]:
    """Yield the days of a billing period up to now. Ceilings apply in order of time: a past day never changes."""
    used = 0
    until = int(now)
    day = max(cycle.start, day_of(history.moments[0].at)) if history.moments else cycle.end
    while day < cycle.end and midnight(day) <= until:
        use = _one_day(history, day, until, used)
        used += use.used
        yield use
        day += timedelta(days=1)


def use_by_day(history: History, first: date, last: date, now: float) -> dict[date, int]:
    """Return mail accepted on each day from `first` to `last`, both inclusive, without days without mail."""
    found: dict[date, int] = {}
    for cycle in cycles(history, now):
        if cycle.end > first and cycle.start <= last:
            found.update(
                {use.day: use.used for use in cycle_days(history, cycle, now) if first <= use.day <= last and use.used}
            )
    return found


def _one_day(history: History, day: date, until: int, used_before: int) -> DayUse:
    attempted = used = 0
    start = midnight(day)
    # One second past `until`, so that usage added in this second counts at once.
    for begin, stop, moment in _pieces(history.moments, start, min(start + DAY, until + 1)):
        wanted = sum(count for at, count in history.added if begin <= int(at) < stop)
        if moment.active:
            volume = moment.sending.volume(day)
            # Differences of one rounded running total: parts always add up to the day.
            wanted += volume * (min(stop, until) - start) // DAY - volume * (begin - start) // DAY
        attempted += wanted
        used += max(0, min(wanted, _room(history, moment, used, used_before + used)))
    return DayUse(day, attempted, used)


def _room(history: History, moment: Moment, used_today: int, used_in_cycle: int) -> int:
    if not moment.active:
        return 0
    room = moment.allotment * CEILING[0] // CEILING[1] - used_in_cycle
    if history.test:
        room = min(room, TEST_CAP_PER_DAY - used_today)
    if moment.free:
        room = min(room, FREE_CAP_PER_DAY - used_today)
    return room


def _pieces(moments: Sequence[Moment], start: int, end: int) -> Iterator[tuple[int, int, Moment]]:
    """Split [start, end) at changes; the time before the first moment is left out."""
    index = bisect_right(moments, start, key=lambda moment: int(moment.at)) - 1
    begin = start if index >= 0 else int(moments[0].at)
    index = max(index, 0)
    while begin < end:
        after = int(moments[index + 1].at) if index + 1 < len(moments) else end
        yield begin, min(after, end), moments[index]
        begin, index = after, index + 1


def _in_force(history: History, moment: int) -> Moment | None:
    index = bisect_right(history.moments, moment, key=lambda change: int(change.at)) - 1
    return history.moments[index] if index >= 0 else None


def _anchored(year: int, month: int, anchor_day: int) -> date:
    return date(year, month, min(anchor_day, monthrange(year, month)[1]))


def _month_after(year: int, month: int, step: int) -> tuple[int, int]:
    index = year * 12 + month - 1 + step
    return index // 12, index % 12 + 1


def _noise(seed: int, number: int) -> float:
    """Return a repeatable number in [0, 1): the same seed and day give the same usage in every run."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 29)) & 0xFFFFFFFF) / 0x1_0000_0000
