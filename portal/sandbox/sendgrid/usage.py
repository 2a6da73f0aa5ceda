"""Mail of an account: the truth, as a pure function of the account's history and the time.

Nothing is counted as it happens. What was sent follows from a few changes of state, plan and sending profile, so that
moving the clock by a year costs nothing. Mail is sent evenly through the day (UTC), also in the last second of a
billing period. What the provider tells of it is another matter: `credits.py` and `statistics.py`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from portal.sandbox.clock import DAY, day_of, midnight
from portal.sandbox.sendgrid.resets import Billing, Period, periods

TEST_CAP_PER_DAY = 100
FREE_CAP_PER_DAY = 100
# Numerator and denominator of the ceiling over the plan's allotment: sending stops at 2.5 times.
CEILING = (5, 2)
SENDERS = ("account", "subuser", "marketing")


@dataclass(frozen=True, slots=True)
class Sending:
    """Sending profile: a volume per day, shaped by weekday, growth and fixed jitter.

    `subuser_share` of it is sent by subusers. `marketing_per_day` is sent besides, with the same shape: it takes no
    credits.
    """

    per_day: float = 0.0
    weekday: tuple[float, ...] = (1.0,) * 7
    growth_per_month: float = 0.0
    jitter: float = 0.0
    seed: int = 0
    subuser_share: float = 0.0
    marketing_per_day: float = 0.0
    since: float = 0.0

    def volume(self, day: date) -> int:
        return self._shaped(self.per_day, day)

    def marketing(self, day: date) -> int:
        return self._shaped(self.marketing_per_day, day)

    def _shaped(self, per_day: float, day: date) -> int:
        if not per_day:
            return 0
        months = max(0, (day - day_of(self.since)).days) / 30.4375
        wanted: float = per_day * self.weekday[day.weekday()] * (1 + self.growth_per_month) ** months
        return max(0, round(wanted * (1 + self.jitter * (2 * _noise(self.seed, day.toordinal()) - 1))))


@dataclass(frozen=True, slots=True)
class Moment:
    """State that applies from one time until the next change."""

    at: float
    active: bool = False
    allotment: int = 0
    free: bool = False
    sending: Sending = field(default_factory=Sending)


class Added(NamedTuple):
    """Mail in addition to the profile, all in one second."""

    at: float
    requests: int
    sender: str = "account"


@dataclass(frozen=True, slots=True)
class History:
    """History of an account. `moments`, `added` and `adjustments` (time, `used` from then on) are sorted by time;
    nothing is sent before the first moment."""

    moments: Sequence[Moment]
    added: Sequence[Added]
    billing: Billing
    test: bool = False
    adjustments: Sequence[tuple[float, int]] = ()

    def allotment_at(self, moment: float) -> int:
        index = bisect_right(self.moments, int(moment), key=lambda change: int(change.at)) - 1
        return self.moments[index].allotment if index >= 0 else 0


@dataclass(frozen=True, slots=True)
class Portion:
    """Mail of a stretch of time in one day, one state and one billing period.

    `room` is how much of it is accepted at most. Every count is of the time from `begin` to `to`, and grows with it.
    `now` is the second up to which mail was sent; `stop` may be the one after it, so that what is added now counts.
    """

    begin: int
    stop: int
    now: int
    day_start: int
    moment: Moment
    room: int
    volume: int
    marketing_volume: int
    added: Sequence[Added]

    def attempted(self, to: int) -> int:
        wanted = self._part(self.volume, to)
        if self.added:
            wanted += self._added(to, "account", "subuser")
        return wanted

    def used(self, to: int) -> int:
        return max(0, min(self.attempted(to), self.room))

    def by_subusers(self, to: int) -> int:
        """Return the part of `used` that subusers sent."""
        if self.attempted(to) > self.room:
            # Up to the last second in which everything was accepted; the rest of the room is the account's own.
            to = bisect_right(range(self.begin, to), self.room, key=self.attempted) + self.begin - 1
        if to < self.begin:
            return 0
        share = self.moment.sending.subuser_share
        return int(self._part(self.volume, to) * share) + (self._added(to, "subuser") if self.added else 0)

    def marketing(self, to: int) -> int:
        if not self.moment.active:
            return 0
        return self._part(self.marketing_volume, to) + (self._added(to, "marketing") if self.added else 0)

    def _part(self, volume: int, to: int) -> int:
        """Return a difference of one rounded running total of the day: parts always add up to the day."""
        if not volume:
            return 0
        return volume * (min(to, self.now) - self.day_start) // DAY - volume * (self.begin - self.day_start) // DAY

    def _added(self, to: int, *senders: str) -> int:
        return sum(each.requests for each in self.added if int(each.at) < to and each.sender in senders)


@dataclass(frozen=True, slots=True)
class PeriodUse:
    """Mail of one billing period. `subusers` is a part of `used`; `marketing` is not."""

    period: Period
    allowed: int
    attempted: int
    used: int
    subusers: int
    marketing: int

    @property
    def remain(self) -> int:
        return max(0, self.allowed - self.used)

    @property
    def overage(self) -> int:
        return max(0, self.used - self.allowed)


def history_periods(history: History, now: float) -> Iterator[Period]:
    """Yield every billing period from the account's first day to now, including the current one."""
    if history.moments and history.moments[0].at <= now:
        yield from periods(history.billing, history.moments[0].at, now)


def period_use(history: History, period: Period, now: float) -> PeriodUse:
    attempted = used = subusers = marketing = 0
    for portion in portions(history, period, now):
        attempted += portion.attempted(portion.stop)
        used += portion.used(portion.stop)
        subusers += portion.by_subusers(portion.stop)
        marketing += portion.marketing(portion.stop)
    allowed = history.allotment_at(min(now, period.resets_at - 1))
    return PeriodUse(period, allowed, attempted, used, subusers, marketing)


def credits_until(history: History, period: Period, now: float) -> int:
    """Return the credits used in a billing period up to now."""
    return sum(portion.used(portion.stop) for portion in portions(history, period, now))


def portions(history: History, period: Period, now: float) -> Iterator[Portion]:
    """Yield the mail of a billing period up to now. Ceilings apply in order of time: a past second never changes."""
    moments, until = history.moments, int(now)
    if not moments:
        return
    begin = max(period.starts_at, int(moments[0].at))
    # One second past `until`, so that usage added in this second counts at once.
    end = min(period.resets_at, until + 1)
    index = bisect_right(moments, begin, key=_second) - 1
    in_period = in_day = 0
    while begin < end:
        while index + 1 < len(moments) and int(moments[index + 1].at) <= begin:
            index += 1
        moment, day = moments[index], day_of(begin)
        day_start = midnight(day)
        stop = min(day_start + DAY, end)
        if index + 1 < len(moments):
            stop = min(stop, int(moments[index + 1].at))
        room = _room(history, moment, in_day, in_period)
        sending = moment.sending
        volume, marketing = (sending.volume(day), sending.marketing(day)) if moment.active else (0, 0)
        added = _within(history.added, begin, stop) if history.added else ()
        portion = Portion(begin, stop, until, day_start, moment, room, volume, marketing, added)
        yield portion
        used = portion.used(stop)
        in_period += used
        in_day = 0 if stop == day_start + DAY else in_day + used
        begin = stop


def _room(history: History, moment: Moment, used_today: int, used_in_period: int) -> int:
    if not moment.active:
        return 0
    room = moment.allotment * CEILING[0] // CEILING[1] - used_in_period
    if history.test:
        room = min(room, TEST_CAP_PER_DAY - used_today)
    if moment.free:
        room = min(room, FREE_CAP_PER_DAY - used_today)
    return room


def _within(added: Sequence[Added], begin: int, stop: int) -> Sequence[Added]:
    return added[bisect_left(added, begin, key=_second) : bisect_left(added, stop, key=_second)]


def _second(item: Moment | Added) -> int:
    return int(item.at)


def _noise(seed: int, number: int) -> float:
    """Return a repeatable number in [0, 1): the same seed and day give the same usage in every run."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 29)) & 0xFFFFFFFF) / 0x1_0000_0000
