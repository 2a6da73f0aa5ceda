"""Whether figures are right: each figure of a billing period that is over against what the sandbox really counted."""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Any

from django.db.models import Count, Sum

from billing.models import NOT_OVER, FigureVersion, MonthTotal, Status, UsagePeriod
from billing.reports.filters import UsageFilters
from billing.reports.queries import build_usage_report
from billing.usage.assess import Reason
from billing.usage.invariants import INVARIANTS
from tests.figures.scenario import POOL, Scenario

EXACT = (Status.FINAL, Status.DERIVED)


@dataclass
class Verdict:
    """What the figures of a world were worth. `widths`: relative to what was really sent, of intervals with a most."""

    figures: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    widths: list[float] = field(default_factory=list)
    of_quota: list[float] = field(default_factory=list)
    intervals: list[str] = field(default_factory=list)
    endless: int = 0
    # Emails missing from figures that are final by agreement: read before our delete.
    agreed: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def add(self, other: Verdict) -> None:
        self.figures += other.figures
        self.reasons += other.reasons
        self.widths += other.widths
        self.of_quota += other.of_quota
        self.intervals += other.intervals
        self.agreed += other.agreed
        self.endless += other.endless
        self.wrong += other.wrong
        self.done += other.done

    def report(self) -> str:
        total = sum(self.figures.values())
        shares = ", ".join(f"{status} {n} ({n / total:.0%})" for status, n in self.figures.most_common())
        width = f"{median(self.widths):.2%} of {len(self.widths)} intervals" if self.widths else "none"
        lines = [
            f"{total} figures of periods that are over: {shares}",
            f"median width relative to the truth: {width}; without a known most: {self.endless}",
            f"median width relative to the quota: {median(self.of_quota):.2%}" if self.of_quota else "no intervals",
            f"reasons: {dict(self.reasons.most_common())}",
            f"what happened: {dict(self.done.most_common())}",
            f"read before our delete, emails missing: {self.agreed}",
            f"wrong: {len(self.wrong)}",
            *self.wrong[:40],
            *(["intervals:", *self.intervals] if os.environ.get("SHOW_INTERVALS") else []),
        ]
        return "\n".join(lines)


Truth = dict[tuple[str, date], dict[str, Any]]


def judge(scenario: Scenario) -> Verdict:
    found = Verdict(done=Counter(scenario.done))
    truth = true_periods(scenario)
    seen: set[tuple[str, date]] = set()
    periods = UsagePeriod.objects.exclude(status__in=NOT_OVER).select_related("account__connection", "current")
    for period in periods.order_by("account", "start_on"):
        key = (period.account.provider_id or "", period.start_on)
        _judge(period, truth.get(key), found)
        seen.add(key)
    found.wrong += _lost(scenario, truth, seen)
    found.wrong += _overlaps()
    found.wrong += _sums()
    found.wrong += _reports(scenario)
    found.wrong += _versions()
    for each in INVARIANTS:
        found.wrong += [f"{each.code}: {text}" for text in each.violations(scenario.world.now)]
    return found


def _judge(period: UsagePeriod, true: dict[str, Any] | None, found: Verdict) -> None:
    pool = " (pool)" if period.account.connection.name == POOL else ""
    found.figures[period.status + pool] += 1
    found.reasons[f"{period.status}/{period.reason}{pool}"] += 1
    where = f"{period.account.connection.name} {period.account.provider_id} {period}"
    if period.used is None:
        return
    if true is None:
        found.wrong.append(f"{where}: a figure of a period that never was: {period.status}")
        return
    used = int(true["used"])
    high = period.high
    told = f"{period.status}/{period.reason} {period.used} to {high}, read at {period.read_at}, truth {used}"
    if period.reason == Reason.BEFORE_DELETION and used > period.used:
        # Final by agreement (docs/decisions/usage-figures.md): mail that the counter did not show yet, or that was sent
        # between the reading and the delete, is lost.
        found.agreed.append(used - period.used)
    elif period.status in EXACT and not period.used == used == high:
        found.wrong.append(f"{where}: not exact: {told}")
    elif used < period.used or (high is not None and used > high):
        found.wrong.append(f"{where}: outside: {told}")
    if period.status in EXACT:
        return
    if high is None:
        found.endless += 1
    elif period.status == Status.INTERVAL:
        found.widths.append((high - period.used) / max(used, 1))
        found.of_quota.append((high - period.used) / max(period.allowed or 1, 1))
        found.intervals.append(f"{where}: {told}")


def true_periods(scenario: Scenario) -> Truth:
    """Return every true billing period by provider ID and first day."""
    admin = scenario.world.sandbox.admin
    found: Truth = {}
    for account in admin.truth():
        for cycle in account["cycles"]:
            found[account["id"], date.fromisoformat(cycle["start"])] = cycle
    for period in admin.aha.truth():
        for each in period["accounts"]:
            start = date.fromisoformat(period["billing_period"]["start"][:10])
            end = date.fromisoformat(period["billing_period"]["end"][:10]) - timedelta(days=1)
            found[each["id"], start] = {"used": each["count"], "over": period["over"], "end": end}
    return found


def _lost(scenario: Scenario, truth: Truth, seen: set[tuple[str, date]]) -> Iterator[str]:
    """Yield periods that ended while the account was ours and have no figure, not even a missing one.

    A missing one has inferred dates: any that covers the period's last day counts."""
    for member in scenario.members:
        member.account.refresh_from_db()
        since = member.account.created_at.date()
        missing = list(member.account.usage_periods.filter(status=Status.MISSING).values_list("start_on", "end_on"))
        gone = _gone_on(member)
        for (provider_id, start), cycle in truth.items():
            if provider_id != member.provider_id or not cycle["over"] or (provider_id, start) in seen:
                continue
            end = date.fromisoformat(cycle["next_reset"]) if "next_reset" in cycle else start
            if end <= since or (gone is not None and start >= gone):
                continue
            if any(first < end and start <= last for first, last in missing):
                continue
            yield f"{member.connection} {provider_id} {start} to {end}: no figure, truth {cycle['used']}"


def _gone_on(member: Any) -> date | None:
    span = member.account.spans.filter(kind="state", value="deleted").first()
    return span.seen_at.date() if span else None


def _overlaps() -> Iterator[str]:
    by_account: dict[int, list[UsagePeriod]] = defaultdict(list)
    for period in UsagePeriod.objects.order_by("account", "start_on"):
        by_account[period.account_id].append(period)
    for rows in by_account.values():
        for before, after in itertools.pairwise(rows):
            if before.end_on >= after.start_on:
                yield f"overlap: {before} {before.status} and {after} {after.status}"


def _sums() -> Iterator[str]:
    figures = UsagePeriod.objects.aggregate(used=Sum("used"), overage=Sum("overage"))
    totals = MonthTotal.objects.aggregate(used=Sum("used"), overage=Sum("overage"), figures=Sum("figures"))
    if (figures["used"], figures["overage"] or 0) != (totals["used"], totals["overage"]):
        yield f"month totals {totals} are not the sums of the figures {figures}"
    if totals["figures"] != UsagePeriod.objects.count():
        yield f"month totals count {totals['figures']} figures of {UsagePeriod.objects.count()}"


def _reports(scenario: Scenario) -> Iterator[str]:
    """Yield months whose report does not show all figures, or not their sum."""
    now = scenario.world.now
    months = UsagePeriod.objects.order_by("month").values_list("month").annotate(n=Count("pk"), used=Sum("used"))
    for month, n, used in months:
        report = build_usage_report(UsageFilters({"month": f"{month:%Y-%m}"}, today=now.date()), now=now)
        if (report.coverage.figures, report.coverage.used) != (n, used or 0):
            yield f"report of {month:%Y-%m}: {report.coverage}, not {n} figures with {used}"


def _versions() -> Iterator[str]:
    """Yield figures whose last version is another figure, and versions that don't follow each other."""
    by_period: dict[int, list[FigureVersion]] = defaultdict(list)
    for version in FigureVersion.objects.order_by("period", "n"):
        by_period[version.period_id].append(version)
    for period in UsagePeriod.objects.all():
        versions = by_period[period.pk]
        if not versions:
            if period.is_over:
                yield f"{period} {period.status}: over, and no version"
            continue
        last = versions[-1]
        if (last.used, last.high, last.status, last.to_batch) != (period.used, period.high, period.status, None):
            yield f"{period}: changed without a version: {last.used} to {last.high} {last.status}"
        for before, after in itertools.pairwise(versions):
            if before.to_batch != after.from_batch:
                yield f"{period}: version {before.n} ends at {before.to_batch}, the next begins at {after.from_batch}"
