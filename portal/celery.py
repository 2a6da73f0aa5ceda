"""Celery application. A task message only triggers work: the row in the database is the queue."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import beat_init, setup_logging
from django.conf import settings
from django.utils.log import configure_logging

import portal.brokers.folder
import portal.brokers.redis  # noqa: F401  (importing them registers them with kombu)

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


@beat_init.connect
def _log_start_of_scheduler(**_: Any) -> None:
    structlog.get_logger(__name__).info("scheduler.started", schedules=len(settings.CELERY_BEAT_SCHEDULE))
