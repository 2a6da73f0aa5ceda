"""Anomalies of readings: values that contradict each other or what was read before.

A decrease inside a period is found where the figure is derived (billing.usage.figures); everything else here, when a
reading is stored. A reading with an anomaly of its own does not count until a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Max, Min

from billing.models import Anomaly, UsagePeriod, UsageSnapshot
from billing.usage.periods import LONGEST_PERIOD, Period
from customers.models import Account
from portal.providers import CAPABILITIES, UsageSource

Kind = Anomaly.Kind
# More than any account sends in a month: a figure above it is none, also where no quota is known.
MOST_EMAILS = 10**11


@dataclass(frozen=True, slots=True)
class Noted:
    """A new reading, the period it belongs to, and the period's dates as reported."""

    snapshot: UsageSnapshot
    period: UsagePeriod
    dates: Period


@dataclass(frozen=True, slots=True)
class _Before:
    """What earlier readings of the same period showed."""

    least_quota: int | None = None
    greatest_quota: int | None = None
    last: UsageSnapshot | None = None
    final_used: int | None = None


def note(noted: Sequence[Noted], *, deleted: Collection[int]) -> set[int]:
    """Open the anomalies of new readings; return the readings (pk) that have one."""
    if not noted:
        return set()
    before = _before(noted)
    accounts = Account.objects.select_related("connection").in_bulk({each.snapshot.account_id for each in noted})
    rows = []
    for each in noted:
        account = accounts[each.snapshot.account_id]
        for kind, was, now in _found(each, account, before[each.snapshot.pk], gone=account.pk in deleted):
            rows.append(_anomaly(kind, each, account, was, now))
    Anomaly.objects.bulk_create(rows, ignore_conflicts=True)
    return {row.snapshot_id for row in rows if row.snapshot_id is not None}


def _found(each: Noted, account: Account, before: _Before, *, gone: bool) -> list[tuple[Kind, str, str]]:
    row, found = each.snapshot, []
    multiple = CAPABILITIES[account.connection.kind].credit_ceiling
    quotas = [quota for quota in (row.allowed, before.least_quota, before.greatest_quota) if quota is not None]
    if (each.dates.end_on - each.dates.start_on).days + 1 > LONGEST_PERIOD.days:
        found.append((Kind.LONG_PERIOD, "", f"{each.dates.start_on} to {each.dates.end_on}"))
    ceiling = max(quotas) * multiple[0] // multiple[1] if multiple and quotas else None
    if row.used > (MOST_EMAILS if ceiling is None else ceiling):
        found.append((Kind.CEILING, str(MOST_EMAILS if ceiling is None else ceiling), str(row.used)))
    elif quotas and row.source != UsageSource.POOLED and (words := _contradiction(row, min(quotas), max(quotas))):
        found.append((Kind.CONTRADICTION, *words))
    if gone and not row.is_final and before.final_used is not None and row.used > before.final_used:
        found.append((Kind.AFTER_DELETION, str(before.final_used), str(row.used)))
    last = before.last
    if last and last.allocated_cost is not None and row.allocated_cost is not None:
        if last.currency != row.currency:
            found.append((Kind.CURRENCY, last.currency, row.currency))
        elif row.allocated_cost < last.allocated_cost and row.used >= last.used:
            found.append(
                (Kind.COST_FELL, f"{last.allocated_cost.normalize():f}", f"{row.allocated_cost.normalize():f}")
            )
    return found


def _contradiction(row: UsageSnapshot, least: int, greatest: int) -> tuple[str, str] | None:
    """Return two values of the reading that can't both be right, or None.

    A quota may have changed in the period, and overage before an upgrade stays (SendGrid's billing pages), so the rest
    is compared with the least and the greatest quota read in it.
    """
    if row.overage is not None and not max(0, row.used - greatest) <= row.overage <= max(0, row.used - least):
        return (f"used {row.used}", f"overage {row.overage}")
    if row.remaining is not None and not max(0, least - row.used) <= row.remaining <= max(0, greatest - row.used):
        return (f"used {row.used}", f"remaining {row.remaining}")
    return None


def _before(noted: Sequence[Noted]) -> dict[int, _Before]:
    """Return by new reading what was read of its period before. Three queries."""
    earlier = UsageSnapshot.objects.filter(
        account__in=[each.snapshot.account_id for each in noted],
        period_start_on__in={each.snapshot.period_start_on for each in noted},
    ).exclude(pk__in=[each.snapshot.pk for each in noted])
    sums = {
        (row["account"], row["period_start_on"]): row
        for row in earlier.order_by()
        .values("account", "period_start_on")
        .annotate(least=Min("allowed"), greatest=Max("allowed"))
    }
    last: dict[tuple[int, object], UsageSnapshot] = {}
    final: dict[tuple[int, object], int] = {}
    for row in earlier.select_related("final_reading").defer("raw").order_by("as_of", "seq", "pk"):
        last[row.account_id, row.period_start_on] = row
        if row.is_final:
            final[row.account_id, row.period_start_on] = row.used
    found = {}
    for each in noted:
        key = (each.snapshot.account_id, each.snapshot.period_start_on)
        sum_ = sums.get(key, {})
        found[each.snapshot.pk] = _Before(sum_.get("least"), sum_.get("greatest"), last.get(key), final.get(key))
    return found


def _anomaly(kind: Kind, each: Noted, account: Account, was: str, now: str) -> Anomaly:
    row = each.snapshot
    effect_cost = None
    if kind == Kind.COST_FELL:
        effect_cost = Decimal(was) - Decimal(now)
    return Anomaly(
        connection_id=account.connection_id,
        account=account,
        period=each.period,
        kind=kind,
        snapshot=row,
        before=was[:60],
        after=now[:60],
        effect=0 if effect_cost is not None else abs(row.used - (each.period.used or 0)) or row.used,
        effect_cost=effect_cost,
        cause=f"{kind}/{account.connection_id}/{row.run_id or row.as_of.date()}",
        opened_at=row.as_of,
    )
