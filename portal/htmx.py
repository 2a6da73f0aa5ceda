"""Helpers for htmx requests: fragments, the current page, and redirects."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.functional import cached_property
from django_htmx.middleware import HtmxDetails

from portal.access.models import User


class Htmx(HtmxDetails):
    """`request.htmx`, ignoring a current URL that cannot be parsed (`http://[::1`)."""

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
    """Return whether htmx requested a fragment. A page restored from the browser's history is requested as a whole."""
    htmx: Any = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.history_restore_request


def go_to(request: HttpRequest, to: Any, *args: Any, **kwargs: Any) -> HttpResponse:
    """Redirect to another page after a change: 303, or a header for htmx, which would swap in the target of a 303."""
    address = resolve_url(to, *args, **kwargs)
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": address})
    return HttpResponseRedirect(address, status=303)


def person(request: HttpRequest) -> User:
    """Return the signed-in user; the middleware admits no other requests."""
    return cast("User", request.user)


def token_of(request: HttpRequest) -> str:
    """Return the token of a single-button form, so that a double click sends one request; a new one if it has none."""
    token = request.POST.get("client_token", "")
    return token if 8 <= len(token) <= 64 and token.isascii() and token.isprintable() else new_token()


class SeeOther(HttpResponseRedirect):
    """Redirect after a change: the next page is fetched with GET."""

    status_code = 303


def new_token() -> str:
    return uuid.uuid4().hex
