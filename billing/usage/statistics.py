"""Requests per day, as statistics reported them, and what they prove about credits.

Statistics are not credits: they lag, are revised, follow the account's own days, may leave out subusers and include
marketing mail, which is not charged. They give the most that can have been sent, never the figure itself, unless the
account is calibrated (`billing.usage.midnights`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from billing.models import StatisticsReading
from billing.usage.assess import days_touched, settled_at


@dataclass(frozen=True, slots=True)
class Statistics:
    """One account's requests of each day, each from the newest reading that has the day: its number and its time."""

    days: dict[date, tuple[int, datetime]] = field(default_factory=dict)

    def known(self, days: Iterable[date]) -> int:
        """Return the requests of those days that are known."""
        return sum(self.days[day][0] for day in days if day in self.days)

    def settled(self, days: Iterable[date]) -> int | None:
        """Return the requests of these days; None if one of them is unknown or may still change."""
        total = 0
        for day in days:
            found = self.days.get(day)
            if found is None or found[1] < settled_at(day):
                return None
            total += found[0]
        return total

    def covers(self, readings: Iterable[tuple[datetime, int]], *, begun_at: datetime) -> bool:
        """Return whether the requests of the period so far were never fewer than the credits read: (time, credits)."""
        return all(self.known(days_touched(begun_at, at)) >= used for at, used in readings)


def statistics_of(accounts: Collection[int], *, first: date) -> dict[int, Statistics]:
    """Return by account what statistics tell of the days from `first` on."""
    rows = StatisticsReading.objects.filter(account__in=accounts, last_on__gte=first).order_by("as_of", "pk")
    found: dict[int, Statistics] = {}
    for row in rows:
        of_account = found.setdefault(row.account_id, Statistics()).days
        for day, requests in row.days.items():
            of_account[date.fromisoformat(day)] = (requests, row.as_of)
    return found
