"""Keeps what blocks a month up to date: at once in a small portal, otherwise by the worker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from django.core.cache import cache
from django.db.models import Max

from billing.closing.blockers.refresh import refresh_month
from billing.closing.matching.current import current_comparisons
from billing.models import MonthClosing, Statement
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import rate_month
from billing.usage.periods import month_after
from customers.models import Account
from portal.queue import enqueue_on_commit

CHECK = "billing.check_month"
# With so few accounts a page checks the month itself.
AT_ONCE = 200
_REMEMBERED = timedelta(days=60).total_seconds()
_OPEN_MONTHS = 3


def bring_up_to_date(month: date, *, now: datetime, asked: bool = False) -> bool:
    """Check the month if that takes no time; return whether it was checked. `asked`: a person asked for it, so that a
    large portal lets the worker do it now."""
    if MonthClosing.objects.filter(month=month, state=MonthClosing.State.RUNNING).exists():
        return False
    if Account.objects.order_by()[: AT_ONCE + 1].count() <= AT_ONCE:
        check_month(month, now=now)
        return True
    if asked:
        enqueue_on_commit(CHECK, month.year * 100 + month.month)
    return False


def check_month(month: date, *, now: datetime) -> None:
    """Rate what changed, compare with the provider's invoices, and look again at what blocks."""
    rate_month(month, now=now)
    rate_costs(month, now=now)
    current_comparisons(month, now=now)
    refresh_month(month, now=now)
    cache.set(_key(month), now, _REMEMBERED)


def checked_at(month: date) -> datetime | None:
    found: datetime | None = cache.get(_key(month))
    return found


def checked_months(months: Iterable[date]) -> set[date]:
    """Return those of the months whose blockers are known."""
    by_key = {_key(month): month for month in months}
    return {by_key[key] for key in cache.get_many(by_key)}


def check_due(*, now: datetime) -> None:
    """Check the last months that are not closed, if anything was rated since they were checked."""
    this = now.astimezone(UTC).date().replace(day=1)
    for month in (month_after(this, -step) for step in range(1, _OPEN_MONTHS + 1)):
        drafts = Statement.objects.filter(month=month, state=Statement.State.DRAFT)
        rated = drafts.aggregate(last=Max("rated_at"))["last"]
        last = checked_at(month)
        if rated and (last is None or rated >= last):
            current_comparisons(month, now=now)
            refresh_month(month, now=now, since=last)
            cache.set(_key(month), now, _REMEMBERED)


def _key(month: date) -> str:
    return f"billing.checked.{month}"
