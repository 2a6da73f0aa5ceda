"""Integrity checks of usage: the counts of runs, and the stored figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count, F, Q, Window
from django.db.models.functions import Lag
from django.utils.translation import gettext_lazy as _

from billing.models import SyncItem, SyncRun, UsageSnapshot
from customers.monitoring.invariants import Invariant


def counts_off(now: datetime) -> Iterator[str]:
    """Check I13: the counts of an ended run match its items, until the items are removed."""

    def items(state: str) -> Count:
        return Count("items", filter=Q(items__state=state))

    counted = SyncRun.objects.filter(state__in=SyncRun.ENDED, items_removed_at=None).annotate(
        n=Count("items"),
        was_done=items(SyncItem.State.DONE),
        was_failed=items(SyncItem.State.FAILED),
        was_skipped=items(SyncItem.State.SKIPPED),
    )
    fits = Q(total=F("n"), done=F("was_done"), failed=F("was_failed"), skipped=F("was_skipped"))
    for run in counted.filter(~fits).select_related("connection"):
        said = f"{run.total} = {run.done} + {run.failed} + {run.skipped}"
        yield f"{run} counts {said}, but its items are {run.n} = {run.was_done} + {run.was_failed} + {run.was_skipped}"


def figures_off(now: datetime) -> Iterator[str]:
    """Check I14: no snapshot is stored twice (constraint `usage_snapshot_once`), and inside a period a figure goes down
    only where the snapshot is marked lower. The next figure is compared with one that finance accepted."""
    once = ("account", "source", "period_start_on", "as_of", "seq")
    for row in UsageSnapshot.objects.order_by().values(*once).annotate(n=Count("pk")).filter(n__gt=1):
        yield f"account {row['account']}, {row['period_start_on']}: {row['n']} usage snapshots as of {row['as_of']}"
    counts = UsageSnapshot.objects.filter(Q(lower=False) | Q(acceptance__isnull=False))
    was = Window(Lag("used"), partition_by=("account", "period_start_on"), order_by=("as_of", "seq", "pk"))
    for each in counts.annotate(was=was).filter(was__gt=F("used")).select_related("account"):
        if not each.lower:
            yield f"{each.account.provider_id} {each}: {each.used} after {each.was}, but not flagged as a decrease"


INVARIANTS = (
    Invariant("I13", _("Usage sync counts add up."), counts_off),
    Invariant("I14", _("No usage snapshot is stored twice, and every decrease is flagged."), figures_off),
)
