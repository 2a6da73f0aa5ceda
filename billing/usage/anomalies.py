"""Anomalies of readings: values that contradict each other, or what was read before.

Two ways lead to one. What a reading says of itself is noted when it is stored; such a reading doesn't count until a
person decides. What contradicts the counted reading before it is derived again with the figure, because a decision may
change which readings count.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Max, Min, Q

from billing.models import Anomaly, UsagePeriod, UsageSnapshot
from billing.usage.periods import Period
from billing.usage.pool_reports import PoolReport, decimal_text, reports_of
from billing.usage.series import Series, SeriesReading, Verdict
from customers.models import Account, UsageReading
from portal.providers import CAPABILITIES, UsageSource

Kind = Anomaly.Kind
# Their readings don't count until a person says so; the other kinds contradict the counted reading before.
SET_ASIDE = frozenset({Kind.CONTRADICTION, Kind.CEILING, Kind.LONG_PERIOD, Kind.AFTER_DELETION})
SUCCESSIVE = frozenset({Kind.FELL, Kind.COST_FELL, Kind.CURRENCY})
# More than any account sends in a month: a figure above it is none, also where no quota is known.
MOST_EMAILS = 10**11


@dataclass(frozen=True, slots=True)
class Noted:
    """A new reading, the period it belongs to, and the period's dates as reported."""

    snapshot: UsageSnapshot
    period: UsagePeriod
    dates: Period


@dataclass(frozen=True, slots=True)
class Judged:
    """A stored reading and what was decided about it. `decided`: kinds with a decision; `report`: the pooled report it
    is from."""

    row: UsageSnapshot
    reading: SeriesReading
    decided: frozenset[str] = frozenset()
    report: PoolReport | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """An undecided contradiction between two successive counted readings of one period."""

    kind: Kind
    before: UsageSnapshot
    after: UsageSnapshot
    report: PoolReport | None


@dataclass(frozen=True, slots=True)
class _Before:
    """Extremes of the earlier readings of the same period."""

    least_quota: int | None = None
    greatest_quota: int | None = None
    final_used: int | None = None
    # The dates of a later period that the provider showed before, and that this one overlaps.
    overlapped: tuple[date, date] | None = None


def note(noted: Sequence[Noted], *, deleted: Collection[int]) -> set[int]:
    """Open the anomalies of new readings; return the readings (pk) that have one."""
    if not noted:
        return set()
    before = _before(noted)
    pooled = [each for each in noted if each.snapshot.source == UsageSource.POOLED]
    connections = {each.period.account.connection_id for each in pooled}
    reports = reports_of(connections, {each.snapshot.period_start_on for each in pooled})
    rows = []
    for each in noted:
        account = each.period.account
        report = reports.of(account.connection_id, each.snapshot)
        for kind, was, now in _found(each, account, before[each.snapshot.pk], gone=account.pk in deleted):
            rows.append(_anomaly(kind, each, account, report, before=was, after=now))
    Anomaly.objects.bulk_create(rows, ignore_conflicts=True)
    return {row.snapshot_id for row in rows if row.snapshot_id is not None}


def _found(each: Noted, account: Account, before: _Before, *, gone: bool) -> list[tuple[Kind, str, str]]:
    row, found = each.snapshot, []
    multiple = CAPABILITIES[account.connection.kind].credit_ceiling
    quotas = [quota for quota in (row.allowed, before.least_quota, before.greatest_quota) if quota is not None]
    if each.dates.is_too_long and each.period.end_on != each.dates.end_on:  # equal: a person accepted these dates
        found.append((Kind.LONG_PERIOD, "", f"{each.dates.start_on} to {each.dates.end_on}"))
    ceiling = max(quotas) * multiple[0] // multiple[1] if multiple and quotas else None
    if row.used > (MOST_EMAILS if ceiling is None else ceiling):
        found.append((Kind.CEILING, str(MOST_EMAILS if ceiling is None else ceiling), str(row.used)))
    elif before.overlapped:
        shown = f"{before.overlapped[0]} to {before.overlapped[1]}"
        found.append((Kind.CONTRADICTION, shown, f"{each.dates.start_on} to {each.dates.end_on}"))
    elif quotas and row.source != UsageSource.POOLED and (words := _contradiction(row, min(quotas), max(quotas))):
        found.append((Kind.CONTRADICTION, *words))
    if gone and not row.is_final and before.final_used is not None and row.used > before.final_used:
        found.append((Kind.AFTER_DELETION, str(before.final_used), str(row.used)))
    return found


def _contradiction(row: UsageSnapshot, least: int, greatest: int) -> tuple[str, str] | None:
    """Return two values of the reading that can't both be right, or None.

    A quota may have changed in the period, and overage before an upgrade stays, as billing pages say. So the rest is
    compared with the least and the greatest quota read in it.
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
    final: dict[tuple[int, object], int] = {}
    finals = earlier.filter(final_reading__moment=UsageReading.Moment.FINAL).order_by("as_of", "seq", "pk")
    for account, start_on, used in finals.values_list("account", "period_start_on", "used"):
        final[account, start_on] = used
    found = {}
    overlapped = _overlapped(noted)
    for each in noted:
        key = (each.snapshot.account_id, each.snapshot.period_start_on)
        sum_: Any = sums.get(key, {})
        found[each.snapshot.pk] = _Before(
            sum_.get("least"), sum_.get("greatest"), final.get(key), overlapped.get(each.snapshot.pk)
        )
    return found


def _overlapped(noted: Sequence[Noted]) -> dict[int, tuple[date, date]]:
    """Return by new reading the dates of a later period that was read before, and that its own one overlaps although
    the provider never ended it: emails of these days would count twice."""
    going_on = [each for each in noted if each.period.next_seen_at is None]
    first = min((each.period.start_on for each in going_on), default=None)
    later: dict[int, list[UsagePeriod]] = defaultdict(list)
    if first is not None:
        accounts = [each.snapshot.account_id for each in going_on]
        for row in UsagePeriod.objects.filter(account__in=accounts, start_on__gt=first, latest__isnull=False):
            later[row.account_id].append(row)
    return {
        each.snapshot.pk: (row.start_on, row.end_on)
        for each in going_on
        for row in later[each.snapshot.account_id]
        if each.period.start_on < row.start_on <= each.period.end_on
        and row.read_at is not None
        and row.read_at < each.snapshot.as_of
    }


def _anomaly(kind: Kind, each: Noted, account: Account, report: PoolReport | None, **values: str) -> Anomaly:
    row = each.snapshot
    return Anomaly(
        connection_id=account.connection_id,
        account=account,
        period=each.period,
        kind=kind,
        snapshot=row,
        pooled_id=report.pk if report else None,
        **{name: text[:60] for name, text in values.items()},
        effect=abs(row.used - (each.period.used or 0)) or row.used,
        cause=_cause(kind, account, row, report),
        opened_at=row.as_of,
    )


def _cause(kind: Kind, account: Account, row: UsageSnapshot, report: PoolReport | None) -> str:
    """Return what groups anomalies: the report, or what one sync found alike."""
    return report.cause if report else f"{kind}/{account.connection_id}/{row.run_id or row.as_of.date()}"


def conflicts_of(judged: Sequence[Judged]) -> list[Conflict]:
    """Return the undecided contradictions between successive counted readings."""
    counted = [each for each in judged if each.reading.counts]
    found = []
    for before, after in itertools.pairwise(counted):
        if after.report and after.report.verdict == Verdict.COUNTED:
            continue
        if after.row.used < before.row.used and not after.reading.verdict:
            found.append(Conflict(Kind.FELL, before.row, after.row, after.report))
        kind = _cost_conflict(before.row, after)
        if kind and kind not in after.decided:
            found.append(Conflict(kind, before.row, after.row, after.report))
    return found


def _cost_conflict(before: UsageSnapshot, after: Judged) -> Kind | None:
    row = after.row
    if before.allocated_cost is None or row.allocated_cost is None:
        return None
    if before.currency != row.currency:
        return Kind.CURRENCY
    fell = row.allocated_cost < before.allocated_cost and row.used >= before.used
    return Kind.COST_FELL if fell and not (after.report and after.report.explains(row)) else None


def follow(found: Mapping[int, tuple[UsagePeriod, Series, Sequence[Conflict]]], *, now: datetime) -> None:
    """Open the anomalies of these contradictions by period (pk), and close those that are none anymore."""
    conflicts = {
        (each.after.pk, each.kind): _successive(period, series, each, now=now)
        for period, series, each_of in found.values()
        for each in each_of
    }
    known = Anomaly.objects.filter(
        Q(period__in=list(found), closed_at=None) | Q(snapshot__in=[snapshot for snapshot, _ in conflicts]),
        kind__in=SUCCESSIVE,
    )
    ended, kept = [], []
    for row in known:
        new = conflicts.pop((row.snapshot_id or 0, Kind(row.kind)), None)
        if new is None:
            if row.closed_at is None and row.period_id in found:
                ended.append(row.pk)
            continue
        if any(getattr(row, name) != getattr(new, name) for name in _FOLLOWED):
            for name in _FOLLOWED:
                setattr(row, name, getattr(new, name))
            kept.append(row)
    Anomaly.objects.filter(pk__in=ended, closed_at=None).update(closed_at=now)
    Anomaly.objects.bulk_update(kept, _FOLLOWED, batch_size=200)
    Anomaly.objects.bulk_create(conflicts.values(), batch_size=500)


_FOLLOWED = ("period_id", "pooled_id", "before", "after", "effect", "effect_cost", "cause", "closed_at")


def _successive(period: UsagePeriod, series: Series, each: Conflict, *, now: datetime) -> Anomaly:
    before, after = each.before, each.after
    was, is_, effect = str(before.used), str(after.used), after.used
    cost: Decimal | None = None
    if each.kind == Kind.FELL:
        least = before.used - after.used
        effect = before.used if series.high is None else max(series.high - series.low, least)
    elif each.kind == Kind.CURRENCY:
        was, is_, cost = before.currency, after.currency, after.allocated_cost
    else:
        old, new = before.allocated_cost or Decimal(), after.allocated_cost or Decimal()
        was, is_, cost = decimal_text(old), decimal_text(new), old - new
    return Anomaly(
        connection_id=period.account.connection_id,
        account_id=period.account_id,
        period=period,
        snapshot=after,
        kind=each.kind,
        pooled_id=each.report.pk if each.report else None,
        before=was,
        after=is_,
        effect=effect,
        effect_cost=cost,
        cause=_cause(each.kind, period.account, after, each.report),
        opened_at=now,
    )
