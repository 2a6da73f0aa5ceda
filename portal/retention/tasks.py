from __future__ import annotations

from celery import shared_task

from portal.clock import database_now
from portal.queue import enqueue_on_commit
from portal.retention import runs


@shared_task(name="retention.start_nightly")
def start_nightly(**_: object) -> None:
    runs.advance_retention(now=database_now())


@shared_task(name=runs.APPLY, soft_time_limit=140, time_limit=150)
def apply_rules(run_id: int, **_: object) -> None:
    if runs.apply_rules(run_id):
        enqueue_on_commit(runs.APPLY, run_id)
