"""Statistics of the provider: requests per day of the account's own time zone, late and revised for a while."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta

from portal.sandbox.clock import day_of, midnight
from portal.sandbox.sendgrid.usage import History, Portion, history_periods, period_use, portions

HOUR = 3_600
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Revision:
    """Completion of statistics: they leave out the last `lag_seconds`, and show `first_share` of a day, which
    grows evenly to all of it in the `hours` after its end."""

    lag_seconds: float = 0.0
    first_share: float = 1.0
    hours: float = 0.0

    def shown(self, requests: int, since_end: float) -> int:
        """Return how many of a day's requests are shown so many seconds after its end (negative: before)."""
        if since_end < 0:
            grown = 0.0
        else:
            grown = min(1.0, since_end / (self.hours * HOUR)) if self.hours else 1.0
        return int(requests * (self.first_share + (1 - self.first_share) * grown))


def requests_by_day(
    history: History, zone: str, first: date, last: date, now: float, *, subusers: bool = True
) -> dict[date, int]:
    """Return the requests of each day from `first` to `last`, both inclusive, without days without mail."""
    found: defaultdict[date, int] = defaultdict(int)
    begin, end = midnight(first, zone), midnight(last + ONE_DAY, zone)
    for period in history_periods(history, now):
        if period.resets_at <= begin or period.starts_at >= end:
            continue
        for portion in portions(history, period, now):
            if portion.stop > begin and portion.begin < end:
                for day, count in _split(portion, zone, subusers=subusers):
                    if count and first <= day <= last:
                        found[day] += count
    return dict(found)


def shown_by_day(
    history: History, zone: str, first: date, last: date, now: float, *, subusers: bool, revision: Revision
) -> dict[date, int]:
    """Return what statistics show now."""
    exact = requests_by_day(history, zone, first, last, now - revision.lag_seconds, subusers=subusers)
    return {day: revision.shown(count, now - midnight(day + ONE_DAY, zone)) for day, count in exact.items()}


def lifetime_requests(history: History, now: float) -> int:
    """Return all requests since the account's creation, as v2 counts them."""
    uses = [period_use(history, period, now) for period in history_periods(history, now)]
    return sum(use.used + use.marketing for use in uses)


def _split(portion: Portion, zone: str, *, subusers: bool) -> list[tuple[date, int]]:
    """Split the requests of a portion at midnights of a zone."""
    parts, begin, before = [], portion.begin, 0
    while begin < portion.stop:
        day = day_of(begin, zone)
        begin = min(portion.stop, midnight(day + ONE_DAY, zone))
        count = portion.used(begin) + portion.marketing(begin)
        if not subusers:
            count -= portion.by_subusers(begin)
        parts.append((day, count - before))
        before = count
    return parts
