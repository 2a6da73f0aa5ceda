"""The order in which accounts are read when there is no time for all: those with the most money at risk first."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Case, F, QuerySet, Value, When

from customers.models import Account, Connection
from portal.providers import CAPABILITIES

# The share of a connection's rate limit that a run uses, and how much longer it may take than that.
UTILIZATION, MARGIN = 0.8, 1.25


def by_money_at_risk(accounts: QuerySet[Account], connection: Connection) -> QuerySet[Account]:
    """Order accounts shortly before the end of their billing periods: usage near or above the quota first, then by
    rate; last those that reached the most they can send.

    Periods of one run end together and last a month, so usage so far is also the rate, and nearly the projected end.
    """
    near = When(usage_used__gte=F("usage_allowed") * 9 / 10, then=Value(0))
    cases = [near]
    if multiple := CAPABILITIES[connection.kind].credit_ceiling:
        full = When(usage_used__gte=F("usage_allowed") * multiple[0] / multiple[1], then=Value(2))
        cases.insert(0, full)
    return accounts.order_by(Case(*cases, default=Value(1)), F("usage_used").desc(nulls_first=True), "pk")


def reading_time(connection: Connection, accounts: int) -> timedelta:
    """Return the time a run over `accounts` needs."""
    return timedelta(minutes=accounts / _rate(connection))


def readable_in(connection: Connection, time: timedelta) -> int:
    """Return how many accounts a run can read in `time`."""
    return max(0, int(time / timedelta(minutes=1) * _rate(connection)))


def _rate(connection: Connection) -> float:
    return max(1, connection.requests_per_minute) * UTILIZATION / MARGIN
