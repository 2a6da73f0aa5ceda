"""Retention: deletion of the items of old usage syncs. Runs with their counts and causes, and all snapshots, stay."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef

from billing.models import SyncItem, SyncRun
from portal import audit

log = structlog.get_logger(__name__)

CHUNK = 1000
SECONDS = 45.0


def remove_old_items(*, now: datetime, seconds: float = SECONDS) -> int:
    """Delete the items of runs that ended more than `SYNC_ITEM_DAYS` ago; return how many were deleted.

    Every chunk is deleted in its own transaction. What is left after `seconds` is deleted by the next call.
    """
    deadline = monotonic() + seconds
    before = now - timedelta(days=settings.SYNC_ITEM_DAYS)
    items = SyncItem.objects.filter(run=OuterRef("pk"))
    begun = SyncRun.objects.filter(Exists(items), items_removed_at__isnull=False)
    due = SyncRun.objects.filter(Exists(items), state__in=SyncRun.ENDED, finished_at__lt=before, items_removed_at=None)
    removed = 0
    for run_id in [*begun.values_list("pk", flat=True), *due.order_by("finished_at").values_list("pk", flat=True)]:
        _expire(run_id, before=before, now=now)
        while monotonic() < deadline and (deleted := _delete_chunk(run_id)):
            removed += deleted
        if monotonic() >= deadline:
            break
    if removed:
        log.info("usage.items_removed", items=removed)
    return removed


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


def _delete_chunk(run_id: int) -> int:
    """Delete one chunk of items of a marked run; return how many were deleted."""
    marked = SyncItem.objects.filter(run=run_id, run__items_removed_at__isnull=False).order_by("pk")
    ids = list(marked.values_list("pk", flat=True)[:CHUNK])
    return SyncItem.objects.filter(pk__in=ids).delete()[0] if ids else 0
