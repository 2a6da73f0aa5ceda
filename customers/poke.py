"""Tell a worker that a row is worth looking at. A poke may be lost, late or repeated: the row is the truth.

Tasks are sent by *name*, so nothing here or below imports `tasks` and no import cycle can form.
"""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import transaction

log = structlog.get_logger(__name__)


def poke(task: str, *ids: int) -> None:
    """Send `task` with `ids` once the current transaction is committed. Never raises: the dispatcher pokes again."""
    transaction.on_commit(lambda: _send(task, ids), robust=True)


def _send(task: str, ids: tuple[int, ...]) -> None:
    try:
        current_app.send_task(task, args=ids)
    except Exception as error:  # noqa: BLE001 whatever the broker's library raises, the click has succeeded already
        log.warning("poke.lost", task=task, ids=ids, error=type(error).__name__)
