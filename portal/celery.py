"""The Celery application. A message is only a poke: the row in the database is the queue and the truth."""

from __future__ import annotations

import os

from celery import Celery

from portal import folder_broker, redis_broker  # noqa: F401  (kombu learns of them)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
app.autodiscover_tasks()
