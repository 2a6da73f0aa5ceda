"""Changes by time alone: billing periods end, open ones become stale, and expected ones stay without a reading."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from billing.models import NOT_OVER, Status, UsagePeriod
from billing.usage import figures, postponed, reset_zones, rollups
from billing.usage.assess import LAG, STALE_AFTER
from billing.usage.gaps import keep_missing, missing_period
from billing.usage.ledger import next_batch
from billing.usage.periods import DAY, Period, last_day, period_of
from billing.usage.snapshots import lock_accounts
from customers.models import Account, AccountSpan
from customers.models.account import AccountState
from customers.observed.spans import CANNOT_SEND

TOGETHER = 200
SECONDS = 20.0


def assess_due(*, now: datetime, seconds: float = SECONDS) -> int:
    """Derive figures again that changed by the passing of time; return how many. What is left after `seconds` is done
    by the next call."""
    deadline = monotonic() + seconds
    done = 0
    if not rollups.are_built():
        with transaction.atomic():
            next_batch()
            rollups.rebuild()
    while monotonic() < deadline and (followed := postponed.follow_some(now=now, limit=TOGETHER)):
        done += followed
    while monotonic() < deadline:
        ids = list(_due(now).order_by("pk").values_list("pk", "account_id")[:TOGETHER])
        changed = _assess(ids, now=now) if ids else 0
        done += changed
        if changed < len(ids) or not ids:
            break
    for row in reset_zones.outdated():
        while monotonic() < deadline and row.position is not None:
            ids = reset_zones.next_periods(row, now=now, limit=TOGETHER)
            done += _assess(ids, now=now) if ids else 0
            reset_zones.mark_done(row, ids, limit=TOGETHER)
    while monotonic() < deadline:
        accounts = list(_without_figure(now).order_by("pk")[:TOGETHER])
        if not accounts:
            break
        done += _add_missing(accounts, now=now)
    return done


def _due(now: datetime) -> QuerySet[UsagePeriod]:
    """Return figures whose status time has changed: over, stale, or of an account that was deleted."""
    over = Q(status__in=NOT_OVER, ends_at__lte=now - OVER_AFTER) | Q(status__in=NOT_OVER, next_seen_at__isnull=False)
    stale = Q(status=Status.OPEN, read_at__lt=now - STALE_AFTER)
    deleted = Q(status__in=NOT_OVER, account__state=AccountState.DELETED)
    return UsagePeriod.objects.filter(over | stale | deleted | _seen_stopped(now))


def _seen_stopped(now: datetime) -> Q:
    """Match intervals that just ended, of accounts that were stopped before the last reading and are seen stopped
    again after the end: then nothing can have been sent between."""
    stopped = AccountSpan.objects.filter(
        account=OuterRef("account"),
        kind=AccountSpan.Kind.STATE,
        until_at=None,
        seen_at__lte=OuterRef("read_at") - LAG,
    )
    return Q(
        Exists(stopped),
        status=Status.INTERVAL,
        used=F("current__used"),
        ends_at__range=(now - SEEN_STOPPED_WITHIN, now),
        account__state__in=CANNOT_SEND,
        account__state_read_at__gte=F("ends_at") + OVER_AFTER,
    )


# How long after the end a state that is read can still prove something.
SEEN_STOPPED_WITHIN = timedelta(days=5)
# Midnight Pacific time, one minute past, comes this long after midnight UTC at the latest.
OVER_AFTER = timedelta(hours=8, minutes=1)


def _assess(ids: Sequence[tuple[int, int]], *, now: datetime) -> int:
    with transaction.atomic():
        lock_accounts([account for _, account in ids])
        periods = [period for period, _ in ids]
        return len(figures.recompute(periods, now=now, batch=next_batch(), cause=figures.FigureCause.PERIOD_OVER))


def _without_figure(now: datetime) -> QuerySet[Account]:
    """Return accounts whose current billing period has no figure a day and a half after it began."""
    before = now - STALE_AFTER
    never = Q(usage_end_on=None, created_at__lt=before)
    rolled_over = Q(usage_end_on__lt=(before - OVER_AFTER).astimezone(UTC).date())
    accounts = Account.objects.filter(never | rolled_over, provider_id__isnull=False, duplicate_of=None)
    return accounts.exclude(state=AccountState.DELETED).exclude(
        usage_periods__end_on__gte=before.astimezone(UTC).date()
    )


def _add_missing(accounts: Sequence[Account], *, now: datetime) -> int:
    """Add the missing period after the last one known of each account."""
    with transaction.atomic():
        lock_accounts([account.pk for account in accounts])
        batch = next_batch()
        last = {
            period.account_id: period
            for period in UsagePeriod.objects.filter(account__in=accounts).order_by("account_id", "start_on")
        }
        rows = [missing_period(account, _dates(account, last.get(account.pk))) for account in accounts]
        UsagePeriod.objects.bulk_create(rows, ignore_conflicts=True)
        keep_missing(accounts, now=now, batch=batch)
        return len(rows)


def _dates(account: Account, last: UsagePeriod | None) -> Period:
    """Return the period after the last one known; the calendar month the account was created in if none is."""
    if last is None:
        first = account.created_at.astimezone(UTC).date().replace(day=1)
        return Period(first, last_day(first), inferred=True)
    return period_of(None, None, known=Period(last.start_on, last.end_on), on=last.end_on + DAY)
