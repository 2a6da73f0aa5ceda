"""Settings of gunicorn, for production and for the demo: `gunicorn -c python:portal.gunicorn portal.wsgi`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from portal import env_file, gunicorn_answers, liveness, logs

env_file.load()
gunicorn_answers.install()
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "8"))
# The slowest page waits ten seconds for a provider.
timeout = 30
graceful_timeout = 30
keepalive = 5
# Against slow memory leaks; with jitter, so that workers do not restart together.
max_requests = 5000
max_requests_jitter = 500
limit_request_line = 8190
_memory = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # heartbeats: never on a slow disk
control_socket_disable = True
logconfig_dict = logs.config(
    json_lines=os.environ.get("PORTAL_ENV", "production") == "production",
    level=os.environ.get("LOG_LEVEL", "INFO"),
)


def when_ready(server: Any) -> None:
    """Report the main process, which portal.health_probe ends if pages are not answered for long."""
    liveness.report("web")
