"""Billing periods between two that were read: nobody read them, and no provider tells of them anymore."""

from __future__ import annotations

from billing.models import Status, UsagePeriod
from billing.usage.periods import DAY, Period, midnight, period_of
from customers.models import Account

MOST = 24


def missing_period(account: Account, dates: Period) -> UsagePeriod:
    """Return a billing period without a figure, not stored."""
    return UsagePeriod(
        account=account,
        start_on=dates.start_on,
        end_on=dates.end_on,
        reported_start_on=dates.start_on,
        ends_at=midnight(dates.end_on + DAY),
        month=dates.month,
        inferred=True,
        status=Status.MISSING,
        package=account.package[:200],
    )


def periods_between(last: Period, following: Period) -> list[Period]:
    """Return the periods after the last one known up to the day before the following one. A provider that restarted a
    period cut the last of them short. After a longer gap than `MOST` periods only the newest of them."""
    found: list[Period] = []
    while last.end_on + DAY < following.start_on:
        usual = period_of(None, None, known=last, on=last.end_on + DAY)
        last = Period(usual.start_on, min(usual.end_on, following.start_on - DAY), inferred=True)
        found.append(last)
    return found[-MOST:]
