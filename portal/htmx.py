"""Is this request for a part of a page, which page, and how does the answer lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.functional import cached_property
from django_htmx.middleware import HtmxDetails


class Htmx(HtmxDetails):
    """`request.htmx`. A current URL that cannot be read (`http://[::1`) is none."""

    @cached_property
    def current_url_abs_path(self) -> str | None:
        try:
            return super().current_url_abs_path
        except ValueError:
            return None


def htmx(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Set `request.htmx`, as `django_htmx.middleware.HtmxMiddleware` does."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.htmx = Htmx(request)  # type: ignore[attr-defined]
        return get_response(request)

    return middleware


def is_fragment(request: HttpRequest) -> bool:
    """Asked by htmx for a part of a page. A page restored from the browser's history is asked for whole."""
    htmx: Any = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.history_restore_request


def go_to(request: HttpRequest, to: Any, *args: Any, **kwargs: Any) -> HttpResponse:
    """Leave for another page after a change: 303, or a header for htmx, which would swap in what a 303 leads to."""
    address = resolve_url(to, *args, **kwargs)
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": address})
    return HttpResponseRedirect(address, status=303)
