"""Integrity checks of usage: the counts of runs, and the stored figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count, Exists, F, OuterRef, Q, Window
from django.db.models.functions import Lag
from django.utils.translation import gettext_lazy as _

from billing.models import Anomaly, SyncItem, SyncRun, UsageSnapshot
from billing.usage import rollups
from billing.usage.anomalies import SET_ASIDE
from customers.models import UsageReading
from customers.monitoring.invariants import Invariant


def counts_off(now: datetime) -> Iterator[str]:
    """Check I13: the counts of an ended run match its items, if it has any, until the items are removed."""

    def items(state: str) -> Count:
        return Count("items", filter=Q(items__state=state))

    ended = SyncRun.objects.filter(state__in=SyncRun.ENDED, items_removed_at=None)
    counted = ended.exclude(kind__in=SyncRun.WITHOUT_ITEMS).annotate(
        n=Count("items"), was_failed=items(SyncItem.State.FAILED), was_skipped=items(SyncItem.State.SKIPPED)
    )
    fits = Q(n=F("failed") + F("skipped"), failed=F("was_failed"), skipped=F("was_skipped"))
    for run in counted.filter(~fits).select_related("connection"):
        said = f"{run.total} = {run.done} + {run.failed} + {run.skipped}"
        yield f"{run} counts {said}, but of its {run.n} items {run.was_failed} failed, {run.was_skipped} were skipped"


def figures_off(now: datetime) -> Iterator[str]:
    """Check I14: no snapshot is stored twice (constraint `usage_snapshot_once`), every decrease inside a billing period
    has an anomaly, and a figure covers its last counted reading."""
    once = ("account", "source", "period_start_on", "as_of", "seq")
    for row in UsageSnapshot.objects.order_by().values(*once).annotate(n=Count("pk")).filter(n__gt=1):
        yield f"account {row['account']}, {row['period_start_on']}: {row['n']} usage snapshots as of {row['as_of']}"
    set_aside = Anomaly.objects.filter(snapshot=OuterRef("pk"), kind__in=SET_ASIDE)
    was = Window(Lag("used"), partition_by=("account", "period_start_on"), order_by=("as_of", "seq", "pk"))
    counted = UsageSnapshot.objects.filter(~Exists(set_aside)).annotate(was=was)
    noted = set(Anomaly.objects.filter(snapshot__isnull=False).values_list("snapshot", flat=True))
    for each in counted.filter(was__gt=F("used")).select_related("account"):
        if each.pk not in noted and not _after_final(each):
            yield f"{each.account.provider_id} {each}: {each.used} after {each.was}, but no anomaly"


def _after_final(snapshot: UsageSnapshot) -> bool:
    """Return whether the account's final reading came before: later ones change no figure."""
    final = UsageSnapshot.objects.filter(account=snapshot.account_id, final_reading__moment=UsageReading.Moment.FINAL)
    return final.filter(as_of__lt=snapshot.as_of).exists()


def rollups_off(now: datetime) -> Iterator[str]:
    """Check I21: roll-ups and month totals are the sums of the figures."""
    yield from rollups.wrong_sums()


INVARIANTS = (
    Invariant("I13", _("Usage sync counts add up."), counts_off),
    Invariant("I14", _("No usage snapshot is stored twice, and every decrease has an anomaly."), figures_off),
    Invariant("I21", _("Usage totals are the sums of their figures."), rollups_off),
)
