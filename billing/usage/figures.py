"""Figures derived again from everything known: readings, decisions and evidence.

    readings -> series (what they can mean) -> assess (status, least and most) -> UsagePeriod, its version, the roll-ups

One way for every cause: a new reading, the end of a period, new statistics, a decision. Readings are never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from billing.models import Anomaly, Decision, FigureVersion, Status, UsagePeriod, UsageSnapshot
from billing.usage import anomalies, rollups
from billing.usage.anomalies import SET_ASIDE, Conflict, Judged
from billing.usage.assess import Assessment, PeriodFacts, Reason, assess
from billing.usage.evidence import Known, PeriodEvidence, evidence_of
from billing.usage.pool_reports import PoolReport, Reports, reports_of
from billing.usage.series import Series, SeriesReading, Verdict, series_of
from customers.models.account import AccountState
from portal.providers import UsageSource
from portal.row_updates import update_rows

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


# What is stored of a reading and no figure is derived from.
_UNUSED = ("raw", "raw_sha256", "remaining", "requests", "reputation", "process_on", "batch")


class FigureCause:
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
    judged: list[Judged]
    decision: Decision | None

    @property
    def snapshots(self) -> list[UsageSnapshot]:
        return [each.row for each in self.judged]


@dataclass(frozen=True, slots=True)
class Assumed:
    """Decisions that nobody made yet, to show what they would do: by reading (pk), by report (pk), or about the figures
    themselves. `undecided`: as if nobody had decided about the figures."""

    readings: Mapping[int, str] = field(default_factory=dict)
    reports: Mapping[int, str] = field(default_factory=dict)
    figure: Decision | None = None
    undecided: bool = False


def recompute(
    period_ids: Collection[int],
    *,
    now: datetime,
    batch: int,
    cause: str,
    moved: Collection[tuple[date, int]] = (),
    loaded: Sequence[UsagePeriod] = (),
) -> list[UsagePeriod]:
    """Derive the figures of these periods again; return those that changed. Needs a transaction that holds the locks of
    their accounts and the ledger's. `moved`: month and customer that periods were taken from. `loaded`: those of the
    periods that are as stored, read under the accounts' locks, with account and connection."""
    if not period_ids:
        return []
    inputs = _inputs([*_exported_since(loaded), *load_periods(set(period_ids) - {each.pk for each in loaded})])
    known = evidence_of([Known(each.period, each.snapshots) for each in inputs], now=now)
    changed, conflicts = [], {}
    for each in inputs:
        before = _figure(each.period)
        conflicts[each.period.pk] = (each.period, *_derive(each, known[each.period.pk], now=now))
        if _figure(each.period) != before or not each.period.batch:
            changed.append(each.period)
    anomalies.follow(conflicts, now=now)
    keep(changed, now=now, batch=batch, cause=cause, moved=moved)
    return changed


def _exported_since(periods: Sequence[UsagePeriod]) -> Sequence[UsagePeriod]:
    """Set what an export changes of figures without the locks of their accounts, under the ledger's."""
    rows = UsagePeriod.objects.filter(pk__in=[each.pk for each in periods]).exclude(version=0, exported=False)
    now = {pk: (exported, version) for pk, exported, version in rows.values_list("pk", "exported", "version")}
    for each in periods:
        each.exported, each.version = now.get(each.pk, (False, 0))
    return periods


def load_periods(period_ids: Collection[int]) -> list[UsagePeriod]:
    if not period_ids:
        return []
    periods = UsagePeriod.objects.filter(pk__in=period_ids).order_by("account_id", "start_on")
    return list(periods.select_related("account__connection", "account__customer"))


def counted_readings(period: UsagePeriod) -> list[UsageSnapshot]:
    """Return the readings that the figure of a period counts, in order of time."""
    [found] = _inputs(load_periods([period.pk]))
    return [each.row for each in found.judged if each.reading.counts]


def preview(periods: Sequence[UsagePeriod], assumed: Assumed, *, now: datetime) -> list[UsagePeriod]:
    """Set the figures of loaded periods as they would be after the assumed decisions. Nothing is stored."""
    found = []
    for each in _inputs(periods, assumed):
        known = evidence_of([Known(each.period, each.snapshots)], now=now)[each.period.pk]
        _derive(each, known, now=now)
        found.append(each.period)
    return found


def _derive(each: _Input, known: PeriodEvidence, *, now: datetime) -> tuple[Series, list[Conflict]]:
    """Set the period's figure; return its series and what contradicts itself in it."""
    conflicts = anomalies.conflicts_of(each.judged)
    disputed = {found.after.pk for found in conflicts if found.kind != Anomaly.Kind.FELL}
    readings = [
        replace(reading, waits=reading.waits or reading.pk in disputed)
        for reading in (judged.reading for judged in each.judged)
    ]
    series = series_of(readings, ceiling=known.ceiling)
    if series.last is None and not series.waiting:  # nothing was read, or nothing that counts
        _without_reading(each)
        return series, conflicts
    facts = _facts(each, series, known)
    found = assess(series, facts, known.after(facts.read_at, now=now), now=now)
    _apply(each, series, _decided(each, series, found), known)
    return series, conflicts


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
        # A part that a person split off may be joined again: then only its versions tell of it.
        if period.is_over or period.exported or period.version or period.counts_from:
            period.version += 1
            versions.append(_version(period, now=now, cause=cause))
    update_rows(periods, [*FIGURE, "current", "batch", "version"])
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


def _inputs(periods: Sequence[UsagePeriod], assumed: Assumed | None = None) -> list[_Input]:
    found: dict[tuple[int, Any], list[UsageSnapshot]] = {}
    rows = UsageSnapshot.objects.filter(
        account__in={each.account_id for each in periods},
        period_start_on__in={start_on for each in periods for start_on in (each.reported_start_on, each.start_on)},
    )
    for row in rows.select_related("final_reading").defer(*_UNUSED).order_by("as_of", "seq", "pk"):
        found.setdefault((row.account_id, row.period_start_on), []).append(row)
    rows_of = {each.pk: _rows_of(each, found) for each in periods}
    verdicts = _verdicts([row.pk for rows in found.values() for row in rows], assumed)
    reports = _reports(periods, rows_of, assumed)
    decisions = _period_decisions([each.pk for each in periods])
    if assumed and (assumed.figure or assumed.undecided):
        decisions = dict.fromkeys(decisions.keys() | rows_of.keys(), assumed.figure)
    return [
        _Input(each, _judged(each, rows_of[each.pk], verdicts, reports), decisions.get(each.pk)) for each in periods
    ]


def _rows_of(period: UsagePeriod, found: Mapping[tuple[int, date], list[UsageSnapshot]]) -> list[UsageSnapshot]:
    """Return the readings that belong to the period: where a person split it, those of its part, under the start that
    the provider reported before and under its own one."""
    rows = found.get((period.account_id, period.reported_start_on), [])
    if period.start_on != period.reported_start_on:
        own = found.get((period.account_id, period.start_on), [])
        rows = sorted([*rows, *own], key=lambda row: (row.as_of, row.seq, row.pk))
    return [
        row
        for row in rows
        if (period.counts_from is None or row.as_of >= period.counts_from)
        and (period.counts_until is None or row.as_of < period.counts_until)
    ]


def _verdicts(snapshot_ids: list[int], assumed: Assumed | None) -> dict[int, list[tuple[str, str]]]:
    """Return kind and last verdict of the anomalies of these readings."""
    last = Decision.objects.filter(anomaly=OuterRef("pk")).order_by("-at", "-pk").values("verdict")[:1]
    rows = Anomaly.objects.filter(snapshot__in=snapshot_ids).annotate(verdict=Subquery(last)).order_by("pk")
    found: dict[int, list[tuple[str, str]]] = {}
    for snapshot, kind, is_open, verdict in rows.values_list("snapshot", "kind", "closed_at", "verdict"):
        decided = "" if verdict == Verdict.UNDONE else verdict or ""
        if assumed and is_open is None and snapshot in assumed.readings:
            decided = assumed.readings[snapshot]
        found.setdefault(snapshot, []).append((kind, decided))
    return found


def _reports(
    periods: Sequence[UsagePeriod], rows_of: Mapping[int, list[UsageSnapshot]], assumed: Assumed | None
) -> Reports:
    pooled = [each for each in periods if any(row.source == UsageSource.POOLED for row in rows_of[each.pk])]
    reports = reports_of({each.account.connection_id for each in pooled}, {each.reported_start_on for each in pooled})
    if assumed is None:
        return reports
    return reports.assume(assumed.reports)


def _period_decisions(period_ids: Collection[int]) -> dict[int, Decision | None]:
    rows = Decision.objects.filter(period__in=period_ids, anomaly=None).order_by("at", "pk")
    return {each.period_id: each for each in rows if each.period_id}


def _judged(
    period: UsagePeriod,
    rows: Sequence[UsageSnapshot],
    verdicts: Mapping[int, list[tuple[str, str]]],
    reports: Reports,
) -> list[Judged]:
    final = next((row for row in reversed(rows) if row.is_final), None)
    closed = final if period.account.state == AccountState.DELETED else None
    found = []
    for row in rows:
        of_row = verdicts.get(row.pk, [])
        report = reports.of(period.account.connection_id, row)
        # After the final reading nothing counts that shows no more. What shows more and came after the delete has an
        # anomaly; what has none was read before it.
        late = closed is not None and row.as_of > closed.as_of and row.used <= closed.used
        found.append(Judged(row, _reading(row, of_row, report, late=late), _decided_kinds(of_row), report))
    return found


def _decided_kinds(of_row: Sequence[tuple[str, str]]) -> frozenset[str]:
    return frozenset(kind for kind, verdict in of_row if verdict)


def _reading(
    row: UsageSnapshot, of_row: Sequence[tuple[str, str]], report: PoolReport | None, *, late: bool
) -> SeriesReading:
    """Return the reading with what was decided about it; a decision about its report is one about all its shares."""
    whole = report.verdict if report else ""
    verdicts = {verdict for _, verdict in of_row} | {whole}
    fall = next((verdict for kind, verdict in of_row if kind == Anomaly.Kind.FELL), "")
    verdict = Verdict.WRONG.value if Verdict.WRONG in verdicts else whole or fall
    open_kinds = {kind for kind, each in of_row if not (each or whole)}
    set_aside = any(kind in SET_ASIDE and Verdict.COUNTED not in (each, whole) for kind, each in of_row)
    waits = bool(open_kinds & SET_ASIDE) or bool(report and report.waits and not whole)
    return SeriesReading(row.pk, row.as_of, row.used, row.allowed, verdict, late or set_aside, waits)


def _facts(each: _Input, series: Series, known: PeriodEvidence) -> PeriodFacts:
    period = each.period
    last = series.last or each.judged[-1].reading
    # Later readings that don't count say nothing of what was sent until then.
    confirmed_at = period.read_at if last.pk == each.judged[-1].reading.pk else None
    return PeriodFacts(
        resets=known.resets,
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
        if decision.quantity < series.low:
            return Assessment(Status.DISPUTED, Reason.ABOVE_QUANTITY, figure.low, figure.high)
        if figure.high is not None and decision.quantity > figure.high:
            return Assessment(Status.DISPUTED, Reason.BEYOND_QUANTITY, figure.low, figure.high)
        return Assessment(Status.FINAL, Reason.QUANTITY, decision.quantity, decision.quantity)
    reason = Reason.BASE_ONLY if decision.verdict == Verdict.BASE_ONLY else Reason.AS_KNOWN
    return Assessment(Status.FINAL, reason, series.low, series.low)


def _without_reading(each: _Input) -> None:
    """Set the figure of a period without a reading that counts: missing, unless a person entered a number. The base fee
    needs no number: the emails stay unknown."""
    period, decision = each.period, each.decision
    verdict = decision.verdict if decision else ""
    quantity = decision.quantity if decision and verdict == Verdict.QUANTITY else None
    period.status = Status.MISSING if quantity is None else Status.FINAL
    period.current = period.allowed = period.allocated_cost = None
    period.currency = ""
    period.used = period.high = quantity
    reasons = {Verdict.QUANTITY: Reason.QUANTITY, Verdict.BASE_ONLY: Reason.BASE_ONLY}
    period.reason = reasons.get(Verdict(verdict), "") if verdict else ""
    period.overage = period.overage_high = 0 if verdict == Verdict.BASE_ONLY else None


def _apply(each: _Input, series: Series, figure: Assessment, evidence: PeriodEvidence) -> None:
    """Set the period's columns; cost, quota and package are those of the last counted reading."""
    period = each.period
    last = series.last.pk if series.last else each.judged[-1].row.pk
    row = next(row for row in each.snapshots if row.pk == last)
    period.current = row
    period.status, period.reason = figure.status, figure.reason
    period.used, period.high = figure.low, figure.high
    period.allowed = row.allowed
    period.overage = _overage(row, figure.low, figure.reason)
    period.overage_high = None if figure.high is None else _overage(row, figure.high, figure.reason)
    period.allocated_cost, period.currency = row.allocated_cost, row.currency
    if series.last is None:  # the reading waits for a decision: until then nothing of it counts
        period.overage = None if row.overage is None else 0
        period.allocated_cost, period.currency = None, ""
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
