"""Helpers for htmx requests: fragments, the current page, and redirects."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast

from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django.utils.functional import cached_property
from django_htmx.middleware import HtmxDetails

from portal.access.models import User
from portal.commands import Command
from portal.filters import ListFilters
from portal.query_params import uuids_or_none
from portal.typed_text import comparable

REFUSED_FILTERS = "X-Refused-Filters"
# Fields by which an admin breaks the glass: the reason, and the confirmation that everyone is told.
GLASS_REASON, GLASS_CONFIRMED = "glass-reason", "glass-confirmed"


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


def render_page(
    request: HttpRequest,
    page: str,
    context: dict[str, Any],
    *,
    part: str = "",
    status: int = 200,
    filters: ListFilters | None = None,
) -> HttpResponse:
    """Render a page, or for htmx its fragment: the template `part`, by default that of the page's name after "_".

    `filters`: those of the page's list. If they list nothing the status is 400; portal.js knows this answer by its
    header from other bad requests, and swaps it.
    """
    folder, _, name = page.rpartition("/")
    template = (part or f"{folder}/_{name}") if is_fragment(request) else page
    response = render(request, template, context, status=status)
    if filters and filters.lists_nothing and status == HTTPStatus.OK:
        response.status_code = HTTPStatus.BAD_REQUEST
        response[REFUSED_FILTERS] = ", ".join(filters.refused)
    return response


def rows_asked(request: HttpRequest) -> tuple[list[uuid.UUID], int]:
    """Return which rows of a list an open page asks for again, and which `{% moving_rows %}` asks.

    Raises:
        Http404: It is not a list of IDs as that tag writes it.
    """
    rows, part = uuids_or_none(request.GET["rows"]), request.GET.get("part", "")
    if rows is None or not (part.isascii() and part.isdigit() and len(part) < 4):
        raise Http404
    return rows, int(part)


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


def command_of(request: HttpRequest, form: Form | None = None, *, now: datetime | None = None) -> Command:
    """Return the command of a request: its user, the present moment, and of a valid form the reason and the token. A
    page of a single button has no form."""
    said = form.cleaned_data if form else {}
    token = said.get("client_token") or token_of(request)
    reason = said.get("reason", "")
    glass = comparable(request.POST.get(GLASS_REASON, ""))[:1000] if GLASS_CONFIRMED in request.POST else ""
    return Command(
        person(request), now or timezone.now(), reason=reason, token=token, request=request, glass_reason=glass
    )


class SeeOther(HttpResponseRedirect):
    """Redirect after a change: the next page is fetched with GET."""

    status_code = 303


def new_token() -> str:
    return uuid.uuid4().hex
