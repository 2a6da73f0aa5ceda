"""Celery application. A task message only triggers work: the row in the database is the queue."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import (
    beat_init,
    before_task_publish,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_ready,
)
from django.conf import settings
from django.utils.log import configure_logging

import portal.brokers.folder
import portal.brokers.redis  # noqa: F401  (importing them registers them with kombu)
from portal import liveness
from portal.queue_settings import REQUEST_ID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
app.autodiscover_tasks()


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    """Configure the usual logging, whatever `--loglevel` is: without a receiver Celery replaces the root handler and
    its level, and only the lines of Celery itself are left."""
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)


@worker_ready.connect
def _serve_metrics(**_: Any) -> None:
    """Serve the metrics in the worker's main process. The processes it forks later must not hold its port open."""
    from portal import metrics_endpoint  # noqa: PLC0415  the settings are read first

    if server := metrics_endpoint.serve_worker_metrics():
        worker_process_init.connect(lambda **_: server.socket.close(), weak=False)


@task_prerun.connect
def _bind_request(task: Any, **_: Any) -> None:
    """Write the ID of the request that caused a task on each of its lines, and into the messages it sends itself."""
    structlog.contextvars.clear_contextvars()
    if cause := (task.request.get("headers") or {}).get(REQUEST_ID):
        structlog.contextvars.bind_contextvars(**{REQUEST_ID: cause})


@task_postrun.connect
def _unbind_request(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


@beat_init.connect
def _log_start_of_scheduler(**_: Any) -> None:
    structlog.get_logger(__name__).info("scheduler.started", schedules=len(settings.CELERY_BEAT_SCHEDULE))
    _scheduler_is_alive()
    before_task_publish.connect(
        _scheduler_is_alive
    )  # it publishes every five seconds; whether it succeeds is no matter


def _scheduler_is_alive(**_: Any) -> None:
    liveness.report("beat")
