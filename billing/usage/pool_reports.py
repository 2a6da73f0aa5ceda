"""Pooled reports of a billing period in order of time: which of them count, and where one contradicts the one before.

The accounts of a report share one invoice: a person decides about the report as a whole, with all its shares.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf

from billing.models import Anomaly, Decision, PooledSnapshot, UsageSnapshot
from billing.money import trimmed
from billing.usage.series import Verdict
from portal.providers import UsageSource

Kind = Anomaly.Kind
# Tolerance between a share of the invoice and its exact value: providers round to cents.
ROUNDING = Decimal("0.01")
PROPORTIONAL = "proportional"


@dataclass(frozen=True, slots=True)
class PoolReport:
    """One stored report. `verdict` is the last decision about it, "" if there is none; `waits`: it contradicts the one
    before it as a whole, and nobody decided yet."""

    pk: int
    as_of: datetime
    currency: str
    method: str
    total_count: int
    total_cost: Decimal
    verdict: str = ""
    waits: bool = False

    @property
    def cost(self) -> Decimal:
        return trimmed(self.total_cost)

    @property
    def cause(self) -> str:
        return f"report/{self.pk}"

    def explains(self, row: UsageSnapshot) -> bool:
        """Return whether the share is the account's part of the whole cost by emails: then it changes with the others'
        usage."""
        if self.method != PROPORTIONAL or not self.total_count or row.allocated_cost is None:
            return False
        return bool(abs(row.allocated_cost - self.total_cost * row.used / self.total_count) <= ROUNDING)


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports of several billing periods, by connection and first day."""

    found: dict[tuple[int, date], list[PoolReport]]

    def of(self, connection_id: int, row: UsageSnapshot) -> PoolReport | None:
        """Return the report that a reading is from: the last one stored when it was read."""
        if row.source != UsageSource.POOLED:
            return None
        known = self.found.get((connection_id, row.period_start_on), [])
        return next((each for each in reversed(known) if each.as_of <= row.as_of), None)

    def assume(self, verdicts: Mapping[int, str]) -> Reports:
        """Return the reports with these decisions in addition, by report (pk)."""
        return Reports(
            {
                key: [
                    replace(each, verdict=verdicts[each.pk], waits=False) if each.pk in verdicts else each
                    for each in reports
                ]
                for key, reports in self.found.items()
            }
        )


def reports_of(connection_ids: Collection[int], starts: Collection[date]) -> Reports:
    """Return the reports of these periods. One query."""
    if not connection_ids:
        return Reports({})
    rows = with_verdict(
        PooledSnapshot.objects.filter(connection__in=connection_ids, period_start_on__in=starts)
    ).annotate(
        is_open=Exists(Anomaly.objects.filter(pooled=OuterRef("pk"), snapshot=None, closed_at=None)),
    )
    found: dict[tuple[int, date], list[PoolReport]] = defaultdict(list)
    fields = ("pk", "as_of", "currency", "method", "total_count", "total_cost", "verdict", "is_open")
    for connection, start_on, *facts in rows.order_by("as_of", "seq").values_list(
        "connection", "period_start_on", *fields
    ):
        found[connection, start_on].append(PoolReport(*facts))
    return Reports(found)


def with_verdict(reports: QuerySet[PooledSnapshot]) -> QuerySet[PooledSnapshot]:
    """Add the last decision about each report as `verdict`: "" if there is none, or if it was undone."""
    last = Decision.objects.filter(anomaly__pooled=OuterRef("pk")).order_by("-at", "-pk").values("verdict")[:1]
    undone = NullIf(Subquery(last), Value(Verdict.UNDONE.value))
    return reports.annotate(verdict=Coalesce(undone, Value("")))


def follow_reports(connection_id: int, start_on: date, *, now: datetime) -> None:
    """Open an anomaly for every report that contradicts the counted one before it, and close those that don't anymore.

    Needs the ledger's lock, so that a report stored at the same time is compared as well.
    """
    reports = reports_of([connection_id], [start_on]).found.get((connection_id, start_on), [])
    conflicts = {(each.pooled_id, each.kind): each for each in report_conflicts_of(reports, connection_id, now=now)}
    known = Anomaly.objects.filter(pooled__in=[each.pk for each in reports], snapshot=None)
    ended = []
    for row in known:
        found = conflicts.pop((row.pooled_id, row.kind), None)
        if found is None and row.closed_at is None:
            ended.append(row.pk)
        elif found is not None:
            row.before, row.after, row.closed_at = found.before, found.after, None
            row.effect, row.effect_cost = found.effect, found.effect_cost
            row.save(update_fields=["before", "after", "closed_at", "effect", "effect_cost"])
    Anomaly.objects.filter(pk__in=ended, closed_at=None).update(closed_at=now)
    Anomaly.objects.bulk_create(conflicts.values(), ignore_conflicts=True)


def report_conflicts_of(reports: Sequence[PoolReport], connection_id: int, *, now: datetime) -> list[Anomaly]:
    """Return the undecided contradictions between successive counted reports, not stored."""
    counted = [each for each in reports if each.verdict != Verdict.WRONG]
    rows = []
    for before, after in itertools.pairwise(counted):
        if after.verdict == Verdict.COUNTED:
            continue
        for kind, was, is_, effect, cost in _contradictions(before, after):
            rows.append(
                Anomaly(
                    connection_id=connection_id,
                    pooled_id=after.pk,
                    kind=kind,
                    before=was,
                    after=is_,
                    effect=effect,
                    effect_cost=cost,
                    cause=after.cause,
                    opened_at=now,
                )
            )
    return rows


def _contradictions(before: PoolReport, after: PoolReport) -> list[tuple[Kind, str, str, int, Decimal | None]]:
    found: list[tuple[Kind, str, str, int, Decimal | None]] = []
    if after.currency != before.currency:
        found.append((Kind.CURRENCY, before.currency, after.currency, after.total_count, after.total_cost))
    elif before.total_cost - after.total_cost > ROUNDING and after.total_count >= before.total_count:
        cost = before.total_cost - after.total_cost
        found.append(
            (Kind.COST_FELL, decimal_text(before.total_cost), decimal_text(after.total_cost), after.total_count, cost)
        )
    if after.total_count < before.total_count:
        cost_fell = after.currency == before.currency and after.total_cost < before.total_cost
        cost_or_none = before.total_cost - after.total_cost if cost_fell else None
        fell = before.total_count - after.total_count
        found.append((Kind.POOL_FELL, str(before.total_count), str(after.total_count), fell, cost_or_none))
    return found


def decimal_text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
