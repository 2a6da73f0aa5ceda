"""Retention of what billing stores. Nothing that a figure, a statement, or a closed month is derived from is removed:
usage snapshots, readings, statistics, versions of figures, decisions, statements and provider invoices stay.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from billing.models import ParallelMonth, ParallelResult, ParallelRow, UsageExport
from billing.usage.retention import old_items, remove_items
from portal.clock import database_now
from portal.retention.rules import RetentionRule


def _export_files(before: datetime) -> QuerySet[UsageExport]:
    return UsageExport.objects.filter(state=UsageExport.State.READY, ready_at__lt=before, file_removed_at=None)


def _remove_files(before: datetime, limit: int) -> int:
    """Empty the files of a batch of exports, and store when. A file may have megabytes: few at a time."""
    ids = list(_export_files(before).order_by("pk").values_list("pk", flat=True)[: min(limit, 50)])
    return _export_files(before).filter(pk__in=ids).update(file=b"", file_removed_at=database_now())


def _failed_exports(before: datetime) -> QuerySet[UsageExport]:
    return UsageExport.objects.filter(state=UsageExport.State.FAILED, requested_at__lt=before)


def _parallel_months(before: datetime) -> QuerySet[ParallelMonth]:
    return ParallelMonth.objects.exclude(state=ParallelMonth.State.COMPARING).filter(uploaded_at__lt=before)


RULES = (
    RetentionRule(
        "sync_items",
        _("Usage sync results by account"),
        removes=_("Accounts that a usage sync failed to read or skipped."),
        keeps=_("Syncs with their counts and causes, all usage snapshots, and syncs that can still be continued."),
        rows=old_items,
        remove=remove_items,
        days=settings.SYNC_ITEM_DAYS,
        least=32,
    ),
    RetentionRule(
        "usage_export_files",
        _("Files of usage exports"),
        removes=_("The stored file of a usage export."),
        keeps=_("The export with its hash, filters, and ledger batch, by which later changes of its figures show."),
        rows=_export_files,
        remove=_remove_files,
        days=None,
        least=90,
        may_keep=True,
    ),
    RetentionRule(
        "failed_exports",
        _("Failed usage exports"),
        removes=_("Usage exports whose file couldn't be written."),
        keeps=_("Exports that were written or are being written."),
        rows=_failed_exports,
        days=90,
        least=7,
    ),
    RetentionRule(
        "parallel_months",
        _("Parallel months"),
        removes=_("Uploaded spreadsheets of what customers were billed elsewhere, with their comparison."),
        keeps=_("Statements and prices: a comparison changes neither."),
        rows=_parallel_months,
        parts=((ParallelResult, "parallel"), (ParallelRow, "parallel")),
        days=730,
        least=90,
        may_keep=True,
    ),
)
