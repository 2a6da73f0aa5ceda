"""A Celery application whose one task does nothing: the floor of what a worker can do."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("noop", broker=os.environ.get("REDIS_URL", ""))
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1, timezone="UTC")


@app.task(name="noop")
def noop(number: int) -> None:
    """Do nothing with one message."""
