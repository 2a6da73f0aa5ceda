"""`/metrics` for Prometheus: a page of the web process, and a port of each worker. Reasons: docs/decisions/metrics.md.

Both need the token of METRICS_TOKEN, and don't exist without it.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from portal import metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PATH = "/metrics"


def _is_permitted(authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    known: str = settings.METRICS_TOKEN
    return bool(known) and scheme.lower() == "bearer" and constant_time_compare(token.strip(), known)


@require_safe
def metrics_page(request: HttpRequest) -> HttpResponse:
    if not settings.METRICS_TOKEN:
        raise Http404
    if not _is_permitted(request.headers.get("Authorization", "")):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(metrics.exposition(database=True), content_type=CONTENT_TYPE_LATEST)


def metrics_on_any_host(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers `/metrics` whatever the Host header is: Prometheus asks each web process by the name of
    its container or by its IP address, which is none of ALLOWED_HOSTS."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info == PATH and settings.METRICS_TOKEN:
            return metrics_page(request)
        return get_response(request)

    return middleware


# --- Workers -----------------------------------------------------------------------------------------------------


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name in the standard library
        """Log nothing: a line per scrape would be too much."""


def _worker_page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "GET":
        start_response("404 Not Found", [])
        return []
    if not _is_permitted(environ.get("HTTP_AUTHORIZATION", "")):
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return []
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
    return [metrics.exposition(database=False)]


def serve_worker_metrics() -> WSGIServer | None:
    """Serve what the processes of this folder counted, in a thread, at METRICS_BIND. None if that isn't wanted."""
    if not (settings.METRICS_TOKEN and settings.METRICS_BIND):
        return None
    host, _, port = settings.METRICS_BIND.rpartition(":")
    server = _Server((host, int(port)), _Quiet)
    server.set_app(_worker_page)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
