"""Is this request for a part of a page, and how does the answer lead elsewhere."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url


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
