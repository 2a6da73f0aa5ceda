"""Calibration: whether an account's statistics are its credits, and the figure that follows where they are.

Two readings right after an account's own midnight enclose whole days of its statistics. If credits and requests were
equal over the last `WINDOWS` of such windows, the end of a period follows from readings around it:

    credits at the last own midnight before the end + requests of the days between
        - credits of the new period at a later own midnight

This also proves the time zone of the account's days, which no answer returns: with another one they would differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from billing.models import MidnightReading
from billing.usage.assess import DAY, LAG, Resets
from billing.usage.statistics import Statistics, statistics_of
from customers.models import Account

# Windows that must be equal before the account counts as calibrated.
WINDOWS = 7
# Windows that ended longer ago tell nothing of today's account.
OLDEST = timedelta(days=45)
# How long after midnight a reading may be, and how many days after the end the later one.
WITHIN = timedelta(seconds=60)
DAYS_AFTER = 3


@dataclass(frozen=True, slots=True)
class CalibrationWindow:
    """From one own midnight to a later one in the same billing period: credits, and requests of the days between."""

    first_on: date
    last_on: date
    credits: int
    requests: int

    @property
    def difference(self) -> int:
        return self.requests - self.credits

    @property
    def rate(self) -> Fraction:
        """Requests a day."""
        return Fraction(self.requests, (self.last_on - self.first_on).days + 1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The last windows that can be compared, oldest first, at most `WINDOWS`."""

    windows: tuple[CalibrationWindow, ...]

    @property
    def is_calibrated(self) -> bool:
        """Return whether all windows are equal, and prove that credits don't lag: where mail is sent at one rate, a
        counter that lags misses as much at the end of each window as at its start."""
        return not self.lack

    @property
    def lack(self) -> str:
        """Return why the account isn't calibrated, a code; "" if it is."""
        if not self.windows:
            return "none"
        if any(each.difference for each in self.windows):
            return "different"
        if len(self.windows) < WINDOWS:
            return "few"
        return "" if len({each.rate for each in self.windows}) > 1 else "one_rate"


def zone_of(account: Account) -> str:
    """Return the time zone to try for the account's own days: its customer's, else UTC. Calibration proves it."""
    return zone_named(account.customer.timezone)


def zone_named(timezone: str) -> str:
    return timezone if timezone in _zone_names() else "UTC"


@cache
def _zone_names() -> frozenset[str]:
    """Return the names of all zones. Listing them opens hundreds of files, and accounts are many."""
    return frozenset(available_timezones())


def midnight_in(zone: str, day: date) -> datetime:
    """Return when `day` begins in `zone`."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))


def calibration_of(account: Account, *, on: date) -> Calibration:
    """Return the account's calibration as of the day `on`, with the windows it is based on."""
    found = midnights_of([account], first=on - OLDEST).get(account.pk, [])
    statistics = statistics_of([account.pk], first=on - OLDEST).get(account.pk, Statistics())
    return calibrate(found, statistics, until=on)


def midnights_of(accounts: Collection[Account], *, first: date) -> dict[int, list[MidnightReading]]:
    """Return by account its midnight readings from `first` on in the time zone it has now, oldest first."""
    zones = {account.pk: zone_of(account) for account in accounts}
    found: dict[int, list[MidnightReading]] = {}
    for row in MidnightReading.objects.filter(account__in=zones, day__gte=first).order_by("day"):
        if row.zone == zones[row.account_id]:
            found.setdefault(row.account_id, []).append(row)
    return found


def calibrate(readings: Sequence[MidnightReading], statistics: Statistics, *, until: date) -> Calibration:
    """Return the last windows before the day `until` that can be compared: both readings in one billing period,
    statistics of the days between that don't change anymore, and mail. Without mail everything is equal, also for a
    counter that lags or statistics that leave out subusers."""
    windows = []
    for before, after in itertools.pairwise(each for each in readings if each.day <= until):
        if before.reported_start_on != after.reported_start_on or before.day < until - OLDEST:
            continue
        requests = statistics.settled(_days(before.day, after.day))
        window = CalibrationWindow(before.day, after.day - DAY, after.used - before.used, requests or 0)
        if requests is not None and (window.requests or window.credits):
            windows.append(window)
    return Calibration(tuple(windows[-WINDOWS:]))


def calibrated_since(readings: Sequence[MidnightReading], statistics: Statistics, *, until: date) -> date | None:
    """Return the first of the days up to `until` without interruption on which the account was calibrated, at most
    `OLDEST` ago; None if it isn't on the last one."""
    since, day = None, until
    while day >= until - OLDEST and calibrate(readings, statistics, until=day).is_calibrated:
        since, day = day, day - DAY
    return since


def derived(
    readings: Iterable[MidnightReading],
    statistics: Statistics,
    *,
    reported_start_on: date,
    end_on: date,
    resets: Resets,
) -> int | None:
    """Return the emails of a period that is over by the readings around its end, None if they don't tell. Only true of
    a calibrated account."""
    # Counters lag: a reading of the new period soon after its start would miss other mail than the one before the end.
    late_enough = resets.latest + LAG
    rows = list(readings)
    before = [each for each in rows if each.reported_start_on == reported_start_on and each.at < resets.earliest]
    after = [each for each in rows if each.reported_start_on == end_on + DAY and each.at >= late_enough]
    if not before or not after or after[0].day > end_on + DAYS_AFTER * DAY:
        return None
    requests = statistics.settled(_days(before[-1].day, after[0].day))
    return None if requests is None else before[-1].used + requests - after[0].used


def _days(first: date, end: date) -> list[date]:
    return [first + DAY * n for n in range((end - first).days)]
