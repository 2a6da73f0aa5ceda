"""The portal's own settings, for a worker that misses the start of a task after two seconds instead of a minute, and an
answer of Redis after one instead of ten."""

from __future__ import annotations

from portal import pool_watch
from portal.settings import *  # noqa: F403  a variant of them

pool_watch.STARTS_WITHIN = 2.0
CELERY_BROKER_TRANSPORT_OPTIONS = CELERY_BROKER_TRANSPORT_OPTIONS | {"socket_timeout": 1}  # noqa: F405  of the portal
