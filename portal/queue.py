"""Sending of task messages. A message may be lost, late or repeated, as the row in the database is authoritative.
Unprocessed messages expire; otherwise those of the dispatcher would accumulate.

Tasks are sent by *name*, so nothing here or below imports `tasks` and no import cycle can form.
"""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import transaction

from portal.queue_settings import EXPIRES, REQUEST_ID

log = structlog.get_logger(__name__)


def enqueue_on_commit(task: str, *ids: int, queue: str | None = None) -> None:
    """Send `task` with `ids` after the current transaction is committed, to its own queue or to `queue`. Never raises:
    the dispatcher sends the task message again."""
    transaction.on_commit(lambda: _send(task, ids, queue), robust=True)


def _send(task: str, ids: tuple[int, ...], queue: str | None) -> None:
    try:
        cause = structlog.contextvars.get_contextvars().get(REQUEST_ID, "")
        current_app.send_task(task, args=ids, queue=queue, expires=EXPIRES, headers={REQUEST_ID: cause})
    except Exception as error:  # noqa: BLE001 whatever the broker's library raises, the click has succeeded already
        log.warning("poke.lost", task=task, ids=ids, error=type(error).__name__)
