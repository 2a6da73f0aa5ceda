from __future__ import annotations

from celery import shared_task

from portal.clock import database_now
from portal.privacy import commands, worker
from portal.queue import enqueue_on_commit


@shared_task(name=commands.ADVANCE, soft_time_limit=780, time_limit=800)
def advance(request_id: int, **_: object) -> None:
    if worker.advance(request_id, now=database_now()):
        enqueue_on_commit(commands.ADVANCE, request_id)


@shared_task(name="privacy.advance_requests")
def advance_requests(**_: object) -> None:
    """Enqueue requests that a worker has to continue, and end those that nobody finished in time."""
    for request_id in worker.due_requests(now=database_now()):
        enqueue_on_commit(commands.ADVANCE, request_id)
    commands.expire_requests(now=database_now())
