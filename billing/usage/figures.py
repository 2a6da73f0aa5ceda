"""Figures derived again from everything known: readings, decisions and evidence.

    readings -> series (what they can mean) -> assess (status, least and most) -> UsagePeriod, its version, the roll-ups

One way for every cause: a new reading, the end of a period, new statistics, a decision. Readings are never changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from billing.models import Anomaly, Decision, FigureVersion, UsagePeriod, UsageSnapshot
from billing.usage import rollups
from billing.usage.assess import Assessment, PeriodFacts, Reason, Status, assess
from billing.usage.evidence import Known, PeriodEvidence, evidence_of
from billing.usage.series import Series, SeriesReading, Verdict, series_of
from customers.models.account import AccountState
from portal.providers import UsageSource

# What a version repeats of a figure, and what counts as a change of it.
FIGURE = (
    "month",
    "start_on",
    "end_on",
    "status",
    "reason",
    "used",
    "high",
    "allowed",
    "overage",
    "overage_high",
    "allocated_cost",
    "currency",
    "package",
)


class Cause:
    """Why a figure changed; codes that are stored with its versions. Their texts are in billing.labels."""

    READING = "reading"
    PERIOD_OVER = "period_over"
    STATISTICS = "statistics"
    DECISION = "decision"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class _Input:
    """Everything a period's figure is derived from."""

    period: UsagePeriod
    snapshots: list[UsageSnapshot]
    readings: list[SeriesReading]
    decision: Decision | None


def recompute(
    period_ids: Collection[int],
    *,
    now: datetime,
    batch: int,
    cause: str,
    moved: Collection[tuple[date, int]] = (),
) -> list[UsagePeriod]:
    """Derive the figures of these periods again; return those that changed. Needs a transaction that holds the locks of
    their accounts and the ledger's. `moved`: month and customer that periods were taken from."""
    if not period_ids:
        return []
    inputs = _inputs(period_ids)
    known = evidence_of([Known(each.period, each.snapshots) for each in inputs], now=now)
    changed = []
    for each in inputs:
        before = _figure(each.period)
        if not each.snapshots:
            if not each.period.batch:
                changed.append(each.period)
            continue
        evidence = known[each.period.pk]
        series = series_of(each.readings, ceiling=evidence.ceiling)
        _note_falls(each, series, now=now)
        facts = _facts(each, series, evidence.resets)
        found = assess(series, facts, evidence.after(facts.read_at, now=now), now=now)
        _apply(each, series, _decided(each, series, found), evidence)
        if _figure(each.period) != before or not each.period.batch:
            changed.append(each.period)
    keep(changed, now=now, batch=batch, cause=cause, moved=moved)
    return changed


def keep(
    periods: Sequence[UsagePeriod],
    *,
    now: datetime,
    batch: int,
    cause: str,
    moved: Collection[tuple[date, int]] = (),
) -> None:
    """Store changed figures, a version of those that are kept, and the roll-ups they belong to."""
    versions = []
    for period in periods:
        period.batch = batch
        if period.is_over or period.exported or period.version:
            period.version += 1
            versions.append(_version(period, now=now, cause=cause))
    UsagePeriod.objects.bulk_update(periods, [*FIGURE, "current", "batch", "version"], batch_size=200)
    add_versions(versions)
    rollups.refresh({*moved, *((period.month, period.account.customer_id) for period in periods)})


def add_versions(versions: Sequence[FigureVersion]) -> None:
    """Add versions; the one before each ends with the batch of its successor."""
    if not versions:
        return
    ended = FigureVersion.objects.filter(period__in=[each.period_id for each in versions], to_batch=None)
    ended.update(to_batch=versions[0].from_batch)
    FigureVersion.objects.bulk_create(versions, batch_size=200)


def _version(period: UsagePeriod, *, now: datetime, cause: str) -> FigureVersion:
    facts = {name: getattr(period, name) for name in FIGURE}
    return FigureVersion(
        period=period,
        account_id=period.account_id,
        n=period.version,
        from_batch=period.batch,
        at=now,
        cause=cause,
        read_at=period.read_at,
        **facts,
    )


def _inputs(period_ids: Collection[int]) -> list[_Input]:
    periods = list(
        UsagePeriod.objects.filter(pk__in=period_ids)
        .select_related("account__connection", "account__customer")
        .order_by("account_id", "start_on")
    )
    found: dict[tuple[int, Any], list[UsageSnapshot]] = {}
    rows = UsageSnapshot.objects.filter(
        account__in={each.account_id for each in periods},
        period_start_on__in={each.reported_start_on for each in periods},
    )
    for row in rows.select_related("final_reading").defer("raw").order_by("as_of", "seq", "pk"):
        found.setdefault((row.account_id, row.period_start_on), []).append(row)
    anomalies = _anomalies([row.pk for rows in found.values() for row in rows])
    decisions = _period_decisions(period_ids)
    inputs = []
    for period in periods:
        snapshots = [
            row
            for row in found.get((period.account_id, period.reported_start_on), [])
            if (period.counts_from is None or row.as_of >= period.counts_from)
            and (period.counts_until is None or row.as_of < period.counts_until)
        ]
        readings = _readings(period, snapshots, anomalies)
        inputs.append(_Input(period, snapshots, readings, decisions.get(period.pk)))
    return inputs


def _anomalies(snapshot_ids: list[int]) -> dict[int, list[tuple[str, str]]]:
    """Return kind and last verdict of the anomalies of these readings."""
    last = Decision.objects.filter(anomaly=OuterRef("pk")).order_by("-at", "-pk").values("verdict")[:1]
    rows = Anomaly.objects.filter(snapshot__in=snapshot_ids).annotate(verdict=Subquery(last)).order_by("pk")
    found: dict[int, list[tuple[str, str]]] = {}
    for snapshot, kind, verdict in rows.values_list("snapshot", "kind", "verdict"):
        found.setdefault(snapshot, []).append((kind, "" if verdict == Verdict.UNDONE else verdict or ""))
    return found


def _period_decisions(period_ids: Collection[int]) -> dict[int, Decision]:
    rows = Decision.objects.filter(period__in=period_ids, anomaly=None).order_by("at", "pk")
    return {each.period_id: each for each in rows if each.period_id}


def _readings(
    period: UsagePeriod, snapshots: list[UsageSnapshot], anomalies: dict[int, list[tuple[str, str]]]
) -> list[SeriesReading]:
    final = next((row for row in reversed(snapshots) if row.is_final), None)
    closed = final if period.account.state == AccountState.DELETED else None
    found = []
    for row in snapshots:
        of_row = anomalies.get(row.pk, [])
        verdict = next((verdict for _, verdict in of_row if verdict), "")
        waits = any(kind != Anomaly.Kind.FELL and not verdict for kind, verdict in of_row)
        # After the final reading nothing counts that shows no more. What shows more and came after the delete has an
        # anomaly; what has none was read before it.
        late = closed is not None and row.as_of > closed.as_of and row.used <= closed.used
        set_aside = late or any(kind in SET_ASIDE for kind, _ in of_row)
        found.append(SeriesReading(row.pk, row.as_of, row.used, row.allowed, verdict, set_aside, waits))
    return found


# Anomalies whose reading does not count until a person says so.
SET_ASIDE = frozenset(
    {Anomaly.Kind.CONTRADICTION, Anomaly.Kind.CEILING, Anomaly.Kind.LONG_PERIOD, Anomaly.Kind.AFTER_DELETION}
)


def _note_falls(each: _Input, series: Series, *, now: datetime) -> None:
    """Open an anomaly for every undecided decrease, and close those that are none anymore."""
    account = each.period.account
    by_pk = {row.pk: row for row in each.snapshots}
    open_falls = Anomaly.objects.filter(period=each.period, kind=Anomaly.Kind.FELL, closed_at=None)
    open_falls.exclude(snapshot__in=series.falls).update(closed_at=now)
    counted = [reading for reading in each.readings if reading.counts]
    previous = {after.pk: before for before, after in itertools.pairwise(counted)}
    for pk in series.falls:
        before, after = previous[pk].used, by_pk[pk].used
        facts = {
            "connection_id": account.connection_id,
            "account": account,
            "period": each.period,
            "before": str(before),
            "after": str(after),
            "effect": before if series.high is None else max(series.high - series.low, before - after),
            "cause": f"fell/{account.connection_id}/{by_pk[pk].run_id or by_pk[pk].as_of.date()}",
            "closed_at": None,
        }
        Anomaly.objects.update_or_create(
            snapshot=by_pk[pk], kind=Anomaly.Kind.FELL, defaults=facts, create_defaults=facts | {"opened_at": now}
        )


def _facts(each: _Input, series: Series, resets: Any) -> PeriodFacts:
    period = each.period
    last = series.last or each.readings[-1]
    # Later readings that don't count say nothing of what was sent until then.
    confirmed_at = period.read_at if last.pk == each.readings[-1].pk else None
    return PeriodFacts(
        resets=resets,
        since=last.at,
        read_at=confirmed_at or last.at,
        read_after_end_at=period.read_after_end_at,
        next_seen_at=period.next_seen_at,
        before_deletion=period.before_deletion and period.account.state == AccountState.DELETED,
        deleted=period.account.state == AccountState.DELETED,
    )


def _decided(each: _Input, series: Series, figure: Assessment) -> Assessment:
    """Return the figure a person decided on for a period that has no exact one, else `figure`."""
    decision = each.decision
    exact = figure.status in (Status.FINAL, Status.DERIVED)
    if decision is None or decision.verdict == Verdict.UNDONE or exact or not series.is_decided:
        return figure
    if figure.status in (Status.OPEN, Status.STALE):
        return figure
    if decision.verdict == Verdict.QUANTITY and decision.quantity is not None:
        return Assessment(Status.FINAL, Reason.QUANTITY, decision.quantity, decision.quantity)
    reason = Reason.BASE_ONLY if decision.verdict == Verdict.BASE_ONLY else Reason.AS_KNOWN
    return Assessment(Status.FINAL, reason, series.low, series.low)


def _apply(each: _Input, series: Series, figure: Assessment, evidence: PeriodEvidence) -> None:
    """Set the period's columns; cost, quota and package are those of the last counted reading."""
    period = each.period
    last = series.last.pk if series.last else each.readings[-1].pk
    row = next(row for row in each.snapshots if row.pk == last)
    period.current = row
    period.status, period.reason = figure.status, figure.reason
    period.used, period.high = figure.low, figure.high
    period.allowed = row.allowed
    period.overage = _overage(row, figure.low, figure.reason)
    period.overage_high = None if figure.high is None else _overage(row, figure.high, figure.reason)
    period.allocated_cost, period.currency = row.allocated_cost, row.currency
    period.package = evidence.package_at(row)


def _overage(row: UsageSnapshot, used: int, reason: str) -> int | None:
    """Return the overage of `used`: reported for the reading itself, else the rest above its quota. A cap has none."""
    if reason == Reason.BASE_ONLY and row.overage is not None:
        return 0
    if used == row.used or row.overage is None:
        return row.overage
    if row.allowed is None or row.source == UsageSource.POOLED:
        return None
    return max(row.overage, used - row.allowed, 0)


def _figure(period: UsagePeriod) -> tuple[Any, ...]:
    return (*(getattr(period, name) for name in FIGURE), period.current_id)
