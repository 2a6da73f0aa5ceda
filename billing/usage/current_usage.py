"""Usage in the current billing period as the account's own pages show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from billing.models import Status, UsagePeriod
from customers.observed import usage_readings

UNTOLD = (Status.DISPUTED, Status.MISSING)


def tell_accounts(periods: Sequence[UsagePeriod], *, now: datetime) -> None:
    """Tell the accounts what a decision changed in their current billing period."""
    accounts = {period.account_id for period in periods}
    newest = UsagePeriod.objects.filter(account__in=accounts, latest__isnull=False).order_by("account", "start_on")
    last = {period.account_id: period.pk for period in newest.only("account_id")}
    disputed: dict[datetime, list[int]] = defaultdict(list)
    for period in periods:
        if last.get(period.account_id) != period.pk or period.read_at is None:
            continue
        if period.status in UNTOLD:
            disputed[period.read_at].append(period.account_id)
        else:
            tell_account(period, at=period.read_at, now=now)
    for at, account_ids in disputed.items():
        usage_readings.mark_usage_missing(account_ids=account_ids, asked_at=at, now=now)


def tell_readings(periods: Sequence[UsagePeriod]) -> None:
    """Tell the accounts the usage of their current billing periods, each as of its last reading. `account` of each is
    locked, and as it was read since."""
    told = [each for each in periods if each.status not in UNTOLD]
    usages = [_usage_of(each, at=each.read_at) for each in told if each.read_at]
    usage_readings.record_usages(usages, locked={each.account_id: each.account for each in told})
    for each in periods:
        if each.status in UNTOLD and each.read_at:
            tell_account(each, at=each.read_at, now=each.read_at)


def tell_account(period: UsagePeriod, *, at: datetime, now: datetime) -> None:
    """Tell the account its usage as read at a time. A disputed or missing figure is not told: the page says so."""
    if period.status in UNTOLD:
        usage_readings.mark_usage_missing(account_ids=[period.account_id], asked_at=at, now=now)
        return
    usage_readings.record_usages([_usage_of(period, at=at)])


def _usage_of(period: UsagePeriod, *, at: datetime) -> usage_readings.CurrentUsage:
    return usage_readings.CurrentUsage(
        account_id=period.account_id,
        used=period.used or 0,
        allowed=period.allowed,
        overage=period.overage,
        start_on=period.start_on,
        end_on=period.end_on,
        at=at,
    )
