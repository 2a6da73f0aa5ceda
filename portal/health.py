"""Health checks: liveness and readiness."""

from __future__ import annotations

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


class _Seen:
    """Result of the migration check: migrations are not undone while the process runs, so it is stored once
    complete."""

    complete = False


def _plain(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text + "\n", status=status, content_type="text/plain; charset=utf-8")


def _migrations_complete() -> bool:
    if not _Seen.complete:
        executor = MigrationExecutor(connection)
        _Seen.complete = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _Seen.complete


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Report that the process is alive. Checks nothing else: a broken database is no reason to restart the web
    server."""
    return _plain("alive")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Report whether the database answers and has every migration. The broker is not checked: pages work without it."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        complete = _migrations_complete()
    except Error:
        return _plain("database does not answer", 503)
    return _plain("ready") if complete else _plain("migrations are missing", 503)
