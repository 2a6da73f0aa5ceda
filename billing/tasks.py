"""Celery tasks: each takes IDs and calls one plain function. A task message may come late, twice or never."""

from __future__ import annotations

from datetime import date
from typing import Any

from celery import shared_task

from billing.closing.invoices.commands import COMPARE
from billing.closing.matching import current as invoice_comparisons
from billing.closing.months import up_to_date
from billing.closing.runs import worker as closings
from billing.pricing.parallel import commands as parallel_months
from billing.pricing.statements import due_months
from billing.reports import export_changes, exports
from billing.usage import due_runs, period_ends, runs
from billing.usage import sync as usage_sync
from billing.usage.snapshots import store_final_readings as keep
from portal.clock import database_now
from portal.queue import enqueue_on_commit


@shared_task(name="billing.advance_runs")
def advance_runs(**_: Any) -> None:
    due_runs.tick(now=database_now())


@shared_task(name=runs.SYNC_CHUNK, soft_time_limit=140, time_limit=150)
def sync_chunk(run_id: int, **_: Any) -> None:
    if usage_sync.sync_chunk(run_id):
        enqueue_on_commit(runs.SYNC_CHUNK, run_id)


@shared_task(name="billing.keep_final_readings")
def keep_final_readings(**_: Any) -> None:
    keep()


@shared_task(name="billing.assess_figures")
def assess_figures(**_: Any) -> None:
    period_ends.assess_due(now=database_now())


@shared_task(name=exports.PREPARE, soft_time_limit=780, time_limit=800)
def prepare_export(export_id: int, **_: Any) -> None:
    exports.prepare_export(export_id, now=database_now())


@shared_task(name="billing.advance_exports")
def advance_exports(**_: Any) -> None:
    for export_id in exports.due_exports(now=database_now()):
        enqueue_on_commit(exports.PREPARE, export_id)
    export_changes.compare_exports(now=database_now())


@shared_task(name="billing.rate_statements", soft_time_limit=780, time_limit=800)
def rate_statements(**_: Any) -> None:
    due_months.rate_due(now=database_now())
    invoice_comparisons.enqueue_comparisons(now=database_now())
    up_to_date.check_due(now=database_now())


@shared_task(name=up_to_date.CHECK, soft_time_limit=780, time_limit=800)
def check_month(month_id: int, **_: Any) -> None:
    up_to_date.check_month(date(month_id // 100, month_id % 100, 1), now=database_now())


@shared_task(name=COMPARE, soft_time_limit=780, time_limit=800)
def compare_invoices(connection_id: int, **_: Any) -> None:
    invoice_comparisons.compare_connection(connection_id, now=database_now())


@shared_task(name=parallel_months.COMPARE, soft_time_limit=780, time_limit=800)
def compare_parallel_month(parallel_id: int, **_: Any) -> None:
    parallel_months.compare_month(parallel_id, now=database_now())


@shared_task(name="billing.advance_parallel_months")
def advance_parallel_months(**_: Any) -> None:
    for parallel_id in parallel_months.due_months(now=database_now()):
        enqueue_on_commit(parallel_months.COMPARE, parallel_id)


@shared_task(name=closings.CLOSE, soft_time_limit=780, time_limit=800)
def close_month(run_id: int, **_: Any) -> None:
    if closings.close_month(run_id, now=database_now()):
        enqueue_on_commit(closings.CLOSE, run_id)


@shared_task(name="billing.advance_closings")
def advance_closings(**_: Any) -> None:
    for run_id in closings.due_closings(now=database_now()):
        enqueue_on_commit(closings.CLOSE, run_id)
