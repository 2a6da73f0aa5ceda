"""Which months are rated by the worker, and when: as soon as anything that statements are rated from changed.

The nightly usage sync changes nearly every figure of the open month, so most customers are rated once a night. Between
two nights the database's own counters tell that nothing changed, and no customer is read.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.core.cache import cache
from django.db.models import Count, Max, Sum

from billing.models import ConnectionBilling, OpeningBalance, PooledSnapshot, SyncRun, UsagePeriod
from billing.pricing.adjustments.open_month import closed_months, finished_runs
from billing.pricing.statements.agreements import published_stamp
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import RULES, rate_month
from billing.pricing.statements.ownership import owners_stamp
from billing.usage.ledger import last_batch
from billing.usage.periods import month_after
from customers.models import Account, AccountSpan

# The month before stays open for late figures, and is compared until its end.
OPEN_MONTHS = 2
_REMEMBERED = timedelta(days=2)


def rate_due(*, now: datetime) -> None:
    """Rate the open months whose inputs may have changed since this was done last, and not during a nightly sync."""
    if SyncRun.objects.filter(kind=SyncRun.Kind.NIGHTLY, state=SyncRun.State.RUNNING).exists():
        return
    this_month = now.astimezone(UTC).date().replace(day=1)
    months = {month_after(this_month, -step) for step in range(OPEN_MONTHS)}
    if (adjusted := closed_months().open) and adjusted < this_month:
        months.add(adjusted)
    for month in sorted(months, reverse=True):
        stamp = _stamp(month, now=now)
        if cache.get(_key(month)) != stamp:
            rate_month(month, now=now)
            rate_costs(month, now=now)
            cache.set(_key(month), stamp, _REMEMBERED.total_seconds())


def _key(month: date) -> str:
    return f"billing.rating.{month}"


def _stamp(month: date, *, now: datetime) -> str:
    """Return what differs whenever an input of the month may have changed, in a few short queries."""
    facts = (
        RULES,
        now.date(),
        last_batch(),
        *published_stamp(),
        UsagePeriod.objects.filter(month=month).aggregate(Sum("readings"))["readings__sum"],
        PooledSnapshot.objects.aggregate(Max("pk"))["pk__max"],
        # Counted, because a row with a smaller key may be committed later.
        AccountSpan.objects.count(),
        Account.objects.count(),
        owners_stamp(),
        ConnectionBilling.objects.aggregate(Sum("edits"))["edits__sum"],
        finished_runs(),
        *OpeningBalance.objects.aggregate(n=Count("pk"), removed=Count("removed_at")).values(),
    )
    return " ".join(str(each) for each in facts)
