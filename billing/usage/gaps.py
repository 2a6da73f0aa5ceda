"""Billing periods between two that were read: nobody read them, and no provider tells of them anymore."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from billing.models import Status, UsagePeriod
from billing.usage import figures
from billing.usage.periods import DAY, Period, latest_end, midnight, period_of
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


def may_last(last: UsagePeriod, following: Period) -> bool:
    """Return whether a period with an inferred end may have lasted until the following one."""
    return last.inferred and following.start_on - DAY <= latest_end(last.start_on, last.end_on)


def add_missing(skipped: Mapping[int, Sequence[Period]], *, now: datetime, batch: int) -> None:
    """Add periods that nobody read, by account (pk): they are missing, not nothing. Needs the locks of the accounts and
    of the ledger."""
    if not skipped:
        return
    found = Account.objects.in_bulk(skipped)
    rows = [missing_period(found[pk], dates) for pk, periods in skipped.items() for dates in periods]
    UsagePeriod.objects.bulk_create(rows, ignore_conflicts=True)
    keep_missing(found.values(), now=now, batch=batch)


def keep_missing(accounts: Collection[Account], *, now: datetime, batch: int) -> None:
    """Store the first version of the missing figures that were just added for these accounts."""
    added = UsagePeriod.objects.filter(account__in=accounts, status=Status.MISSING, batch=0).select_related("account")
    figures.keep(list(added), now=now, batch=batch, cause=figures.FigureCause.PERIOD_OVER)
