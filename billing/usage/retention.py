"""Deletion of the items of old usage syncs. Runs with their counts and causes, and all snapshots, stay."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from billing.models import SyncItem, SyncRun
from portal import audit
from portal.clock import database_now


def old_items(before: datetime) -> QuerySet[SyncItem]:
    """Return the items of runs that ended before, and those of runs whose deletion has begun."""
    ended = Q(run__state__in=SyncRun.ENDED, run__finished_at__lt=before)
    return SyncItem.objects.filter(ended | Q(run__items_removed_at__isnull=False))


def remove_items(before: datetime, limit: int) -> int:
    """Delete at most `limit` items of one run that ended before; return how many. Runs whose deletion has begun come
    first."""
    items = Exists(SyncItem.objects.filter(run=OuterRef("pk")))
    begun = SyncRun.objects.filter(items, items_removed_at__isnull=False)
    due = SyncRun.objects.filter(items, state__in=SyncRun.ENDED, finished_at__lt=before, items_removed_at=None)
    for run_id in [*begun.values_list("pk", flat=True), *due.order_by("finished_at").values_list("pk", flat=True)]:
        _expire(run_id, before=before, now=database_now())
        if deleted := _delete_chunk(run_id, limit):
            return deleted
    return 0


def _expire(run_id: int, *, before: datetime, now: datetime) -> None:
    """Mark the run, which can't be retried from then on, and store the number of items per cause."""
    ended = SyncRun.objects.filter(pk=run_id, state__in=SyncRun.ENDED, finished_at__lt=before, items_removed_at=None)
    with transaction.atomic():
        if ended.update(items_removed_at=now) != 1:
            return
        run = SyncRun.objects.select_related("connection").get(pk=run_id)
        run.removed_causes = _causes(run_id)
        run.save(update_fields=["removed_causes"])
        audit.record(actor=None, verb="usage.items_removed", obj=run, after={"items": run.failed + run.skipped})


def _causes(run_id: int) -> dict[str, dict[str, int]]:
    counted = SyncItem.objects.filter(run=run_id).order_by()
    found: dict[str, dict[str, int]] = {}
    for state, cause, n in counted.values_list("state", "cause").annotate(n=Count("pk")):
        found.setdefault(state, {})[cause] = n
    return found


def _delete_chunk(run_id: int, limit: int) -> int:
    """Delete one chunk of items of a marked run; return how many were deleted."""
    marked = SyncItem.objects.filter(run=run_id, run__items_removed_at__isnull=False).order_by("pk")
    ids = list(marked.values_list("pk", flat=True)[:limit])
    return SyncItem.objects.filter(pk__in=ids).delete()[0] if ids else 0
