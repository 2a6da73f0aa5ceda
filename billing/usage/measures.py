"""Metrics that the tables of this app give (`portal.metrics`), in a fixed number of queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from django.db.models import F, Max, OuterRef, Subquery

from billing.models import UNDECIDED, Anomaly, SyncRun, UsagePeriod
from customers.models import Connection
from portal import metrics
from portal.metrics import Measure

# Counting ends here: more than anyone decides in a week.
MOST_COUNTED = 1000
SETTLED = ("done", "failed", "skipped")


def read_billing(now: datetime) -> Iterator[Measure]:
    yield from _syncs()
    anomalies = Anomaly.objects.order_by().filter(closed_at=None)[:MOST_COUNTED]
    yield metrics.NEEDS_REVIEW.at(anomalies.count(), "usage.anomaly")
    figures = UsagePeriod.objects.order_by().filter(status__in=UNDECIDED, ends_at__lte=now)[:MOST_COUNTED]
    yield metrics.NEEDS_REVIEW.at(figures.count(), "usage.figure")


def _syncs() -> Iterator[Measure]:
    """Yield the last full sync of each connection that is synced, summed by kind of provider."""
    full = SyncRun.objects.filter(connection=OuterRef("pk"), kind__in=SyncRun.FULL).order_by("-started_at", "-pk")
    ended = SyncRun.objects.filter(connection=OuterRef("pk"), kind__in=SyncRun.FULL, finished_at__isnull=False)
    last_ended = ended.order_by().values("connection").annotate(last=Max("finished_at")).values("last")
    synced = Connection.objects.filter(paused__in=Connection.READABLE).annotate(last=Subquery(full.values("pk")[:1]))
    kinds = list(synced.annotate(ended=Subquery(last_ended)).values_list("kind", "last", "ended"))
    runs = SyncRun.objects.filter(pk__in=[last for _, last, _ in kinds if last])
    counts: Counter[tuple[str, str]] = Counter()
    for kind, total, *settled in runs.values_list(F("connection__kind"), "total", *SETTLED):
        parts = dict(zip(SETTLED, settled, strict=True))
        for state, n in {**parts, "pending": total - sum(settled)}.items():
            counts[kind, state] += n
    for (kind, state), n in counts.items():
        yield metrics.SYNC_ACCOUNTS.at(n, kind, state)
    for kind in sorted({kind for kind, _, _ in kinds}):
        moments = [at for each, last, at in kinds if each == kind and last]
        if moments:
            yield metrics.SYNC_ENDED.at(None if None in moments else min(moments), kind)
