"""Named points at which a test may kill the process. In production they do nothing and cannot be switched on."""

from __future__ import annotations

import os
import signal

from django.conf import settings


def crash_point(name: str) -> None:
    if not settings.PRODUCTION and os.environ.get("PORTAL_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
