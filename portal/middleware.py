"""Middleware for every request: an ID, a log line, and the user's time zone."""

from __future__ import annotations

import time
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils import timezone

from portal import metrics
from portal.query_params import is_storable

log = structlog.get_logger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponse]

_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_LOOPBACK = ("127.0.0.1", "::1")
# A proxy adds one of these.
_BY_PROXY = (
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)


def request_id(get_response: GetResponse) -> GetResponse:
    """Assign a new request ID (one sent by the client is ignored), and count and log the request at the end.

    The line contains the route, not the path: a path can hold a one-time token.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        request.request_id = uuid.uuid4().hex  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.request_id)  # type: ignore[attr-defined]
        started = time.perf_counter()
        try:
            response = get_response(request)
            response["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
            match = request.resolver_match
            if request.path_info not in _PROBES:
                route, seconds = match.view_name if match else "-", time.perf_counter() - started
                status = response.status_code
                metrics.count_request(route=route, method=request.method, status=status, seconds=seconds)
                log.info("request", method=request.method, route=route, status=status, ms=round(seconds * 1000))
            return response
        finally:
            structlog.contextvars.clear_contextvars()

    return middleware


def loopback_only(get_response: GetResponse) -> GetResponse:
    """With LOOPBACK_ONLY, refuse requests that came from another machine, directly or through a proxy.

    A proxy on this machine that adds no header to requests can't be recognized: what it passes on is answered.
    """
    if not settings.LOOPBACK_ONLY:
        raise MiddlewareNotUsed

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.META.get("REMOTE_ADDR") not in _LOOPBACK or any(name in request.META for name in _BY_PROXY):
            why = "LOOPBACK_ONLY is on: the portal answers its own machine alone. Restart the web without it.\n"
            return HttpResponse(why, status=403, content_type="text/plain; charset=utf-8")
        return get_response(request)

    return middleware


def storable_path(get_response: GetResponse) -> GetResponse:
    """Return 404 for a path that cannot be stored: PostgreSQL does not accept NUL in queries."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not is_storable(request.path_info):
            raise Http404
        return get_response(request)

    return middleware


class Compression(GZipMiddleware):
    """Compress pages, which are long and repeat themselves. Files are left alone: an Excel file is compressed already,
    and of a CSV file the first rows should arrive at once."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.get("Content-Type", "").startswith("text/html"):
            return super().process_response(request, response)
        return response


def persons_zone(get_response: GetResponse) -> GetResponse:
    """Activate the signed-in user's time zone, UTC for others."""

    def middleware(request: HttpRequest) -> HttpResponse:
        name = getattr(request.user, "timezone", "") or "UTC"
        try:
            zone = zoneinfo.ZoneInfo(str(name))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            zone = zoneinfo.ZoneInfo("UTC")
        with timezone.override(zone):
            return get_response(request)

    return middleware


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Context processor: values that base templates use besides `request`."""
    return {
        "product": "Postkeeper",
        "demo": settings.DEMO,
        "request_id": getattr(request, "request_id", ""),
    }
