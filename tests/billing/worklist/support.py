"""Readings as a provider answers them, stored as a sync stores them, and decisions of a person of finance."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from billing.models import Anomaly, UsagePeriod
from billing.usage.decisions import decide_anomalies, decide_figure
from billing.usage.period_ends import assess_due
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Account
from portal.commands import Command
from portal.providers import Usage, UsageSource
from tests.support.factories import UserFactory

START, END = date(2026, 10, 1), date(2026, 10, 31)
AFTER = datetime(2026, 11, 3, 12, tzinfo=UTC)


def at(day: int, hour: int = 3, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def read(account: Account, used: int, when: datetime, *, allowed: int | None = 100_000, **facts: Any) -> None:
    """Store one answer; `facts` replace what it says."""
    said: dict[str, Any] = {
        "remaining": None if allowed is None else max(0, allowed - used),
        "overage": None if allowed is None else max(0, used - allowed),
        "period_start_on": START,
        "period_end_on": END,
    }
    raw = {"used": used, **{name: str(value) for name, value in facts.items()}}
    usage = Usage(source=UsageSource.CREDITS, used=used, allowed=allowed, raw=raw, **said | facts)
    store_readings([AccountReading(account.pk, usage, when, account.package)], run=None)


def next_period(account: Account, used: int = 0, when: datetime = AFTER) -> None:
    """Show the period after, so that October is over."""
    read(account, used, when, period_start_on=date(2026, 11, 1), period_end_on=date(2026, 11, 30))


def october(account: Account) -> UsagePeriod:
    return UsagePeriod.objects.get(account=account, start_on=START)


def figure(account: Account) -> tuple[str, int | None, int | None]:
    period = october(account)
    return period.status, period.used, period.high


def open_anomalies(account: Account) -> list[Anomaly]:
    return list(Anomaly.objects.filter(account=account, closed_at=None).order_by("pk"))


def command(now: datetime = AFTER, *, reason: str = "The provider confirmed it.", person: Any = None) -> Command:
    return Command(person or UserFactory(role="finance"), now, reason=reason)


def decide(account: Account, verdict: str, now: datetime = AFTER) -> Anomaly:
    [anomaly] = open_anomalies(account)
    decide_anomalies(command(now), anomalies=[anomaly], verdict=verdict)
    anomaly.refresh_from_db()
    return anomaly


def decide_october(account: Account, verdict: str, quantity: int | None = None, now: datetime = AFTER) -> None:
    period = october(account)
    decide_figure(command(now), period=period, seen_version=period.version, verdict=verdict, quantity=quantity)


def let_time_pass(now: datetime = AFTER) -> None:
    assess_due(now=now)
