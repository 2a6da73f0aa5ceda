"""Health checks: liveness and readiness."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


class _Seen:
    """Result of the migration check: migrations are not reversed while the process runs, so the result is stored once
    complete."""

    complete = False


def _plain(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text + "\n", status=status, content_type="text/plain; charset=utf-8")


def _migrations_complete() -> bool:
    if not _Seen.complete:
        executor = MigrationExecutor(connection)
        _Seen.complete = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _Seen.complete


def liveness(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers `/healthz`, whatever the Host header is.

    It reports that the process is alive and checks nothing else: a broken database is no reason to restart the web
    server.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info == "/healthz" and request.method in ("GET", "HEAD"):
            return _plain("alive")
        return get_response(request)

    return middleware


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Report whether the database answers and has every migration. The broker is not checked: pages work without it."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        complete = _migrations_complete()
    except Error:
        return _plain("database is not responding", 503)
    except ImproperlyConfigured:  # portal/connection_limits.py
        return _plain("database connection has no time limits", 503)
    return _plain("ready") if complete else _plain("migrations are missing", 503)
