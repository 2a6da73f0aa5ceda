"""Queries for the run pages: the list, one run with its errors by cause, and the last run per connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, OuterRef, QuerySet, Subquery, Value, Window
from django.db.models.functions import RowNumber
from django.utils.functional import Promise

from billing.models import Anomaly, SyncItem, SyncRun
from billing.usage import failure_reasons
from customers.models import Connection
from portal.filters import ListFilters, page_filter

RUNS_A_PAGE = 30
ACCOUNTS_PER_CAUSE = 50


def with_last_run(connections: Iterable[Connection]) -> list[tuple[Connection, SyncRun | None]]:
    """Return every connection with its last full run; the others cover only some accounts or no usage."""
    latest = SyncRun.objects.filter(connection=OuterRef("pk"), kind__in=SyncRun.FULL).order_by("-started_at", "-pk")
    last = Connection.objects.order_by().annotate(last=Subquery(latest.values("pk")[:1])).values("last")
    runs = {run.connection_id: run for run in SyncRun.objects.filter(pk__in=last)}
    return [(each, runs.get(each.pk)) for each in connections]


class RunFilters(ListFilters):
    page = page_filter()


def run_page(filters: RunFilters) -> Page[SyncRun]:
    return filters.page_of(Paginator(SyncRun.objects.select_related("connection", "asked_by"), RUNS_A_PAGE))


@dataclass(frozen=True)
class CauseGroup:
    """Accounts that were not read for one cause: their number, and the first of them."""

    words: str | Promise
    what_to_do: str | Promise
    count: int
    shown: list[SyncItem]

    @property
    def more(self) -> int:
        return self.count - len(self.shown)


@dataclass(frozen=True)
class RunFacts:
    run: SyncRun
    failed: list[CauseGroup]
    skipped: list[CauseGroup]
    waiting: int
    next_try_at: datetime | None
    anomalies: list[Anomaly]

    @property
    def percent(self) -> int:
        return self.run.settled * 100 // self.run.total if self.run.total else 100


def run_facts(run: SyncRun) -> RunFacts:
    items = SyncItem.objects.filter(run=run)
    if run.items_removed_at:
        causes_of = {state: _removed(run.removed_causes.get(state, {})) for state in ("failed", "skipped")}
        return RunFacts(run=run, waiting=0, next_try_at=None, anomalies=_anomalies(run), **causes_of)
    waiting = items.filter(state=SyncItem.State.PENDING, tries__gt=0)
    first = waiting.order_by("not_before").values_list("not_before", flat=True).first()
    return RunFacts(
        run=run,
        failed=_groups(items.filter(state=SyncItem.State.FAILED)),
        skipped=_groups(items.filter(state=SyncItem.State.SKIPPED)),
        waiting=waiting.count(),
        next_try_at=first,
        anomalies=_anomalies(run),
    )


def _groups(items: QuerySet[SyncItem]) -> list[CauseGroup]:
    """Return errors by cause, most frequent first, each with its first accounts. Always two queries."""
    counts = list(items.values("cause").annotate(n=Count("pk")).order_by("-n", "cause"))
    numbered = items.annotate(n=Window(RowNumber(), partition_by=[F("cause")], order_by=F("pk").asc())).filter(
        n__lte=Value(ACCOUNTS_PER_CAUSE)
    )
    shown: dict[str, list[SyncItem]] = {}
    for item in numbered.select_related("account__customer").order_by("pk"):
        shown.setdefault(item.cause, []).append(item)
    groups = []
    for row in counts:
        look = failure_reasons.look(row["cause"])
        groups.append(CauseGroup(look.words, look.what_to_do, row["n"], shown.get(row["cause"], [])))
    return groups


def _removed(counts: dict[str, int]) -> list[CauseGroup]:
    """Return the cause groups of a run whose items were removed: counts without accounts."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [CauseGroup((look := failure_reasons.look(cause)).words, look.what_to_do, n, []) for cause, n in ordered]


def _anomalies(run: SyncRun) -> list[Anomaly]:
    """Return undecided anomalies of readings of this run, those with the most effect first."""
    found = Anomaly.objects.filter(snapshot__run=run, closed_at=None).select_related("account__customer")
    return list(found[:ACCOUNTS_PER_CAUSE])
