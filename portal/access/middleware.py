"""Middleware that enforces permissions.toml. An undeclared route is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import resolve_url
from django.utils import timezone

from portal.access.checks import refuse_to_start
from portal.access.models import User
from portal.access.permissions import ANYONE, NotYourRole, method_of, rule_of
from portal.access.places import page_behind
from portal.htmx import is_fragment

log = structlog.get_logger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponse]

_STARTED = "signed_in_at"
_SEEN = "seen_at"
_SEEN_EVERY = 300  # seconds between two updates of `last_seen_at`


def declared_permissions(get_response: GetResponse) -> GetResponse:
    """Refuse undeclared routes, redirect to sign-in without a session, and end sessions that are too old."""
    refuse_to_start()

    def middleware(request: HttpRequest) -> HttpResponse:
        _end_if_too_old(request)
        return get_response(request)

    def process_view(request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        match = request.resolver_match
        rule = rule_of(match.view_name) if match else None
        if rule is None:
            log.error("undeclared route refused", route=match.view_name if match else "-")
            raise NotYourRole(frozenset())
        roles = rule.get(method_of(request.method))
        if roles is None:
            return HttpResponseNotAllowed(sorted(rule))
        if ANYONE in roles:
            return None
        if not request.user.is_authenticated:
            return to_sign_in(request)
        if request.user.role not in roles:
            raise NotYourRole(roles)
        _note_presence(request, request.user)
        return None

    middleware.process_view = process_view  # type: ignore[attr-defined]
    return middleware


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Redirect a page to sign-in and back. A fragment gets a 401 instead.

    After a GET, htmx moves the whole page to sign-in (HX-Redirect). After a POST the page stays, so that its input is
    still there after signing in in another tab.
    """
    back = page_behind(request)
    if not is_fragment(request):
        return redirect_to_login(back)
    response = HttpResponse(status=HTTPStatus.UNAUTHORIZED)
    if method_of(request.method) == "GET":
        response["HX-Redirect"] = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({auth.REDIRECT_FIELD_NAME: back})}"
    return response


def _end_if_too_old(request: HttpRequest) -> None:
    """End the session a fixed time after sign-in, regardless of activity."""
    if auth.SESSION_KEY not in request.session:
        return
    started = request.session.get(_STARTED)
    if started is None:
        request.session[_STARTED] = int(time.time())
    elif time.time() - started > settings.SESSION_ABSOLUTE_SECONDS:
        auth.logout(request)


def _note_presence(request: HttpRequest, user: User) -> None:
    """Record activity, which extends the idle limit, at most every few minutes.

    Only a page or a change counts: fragments poll by themselves, so an open tab is no activity.
    """
    if is_fragment(request) and method_of(request.method) == "GET":
        return
    now = int(time.time())
    if now - int(request.session.get(_SEEN, 0)) >= _SEEN_EVERY:
        request.session[_SEEN] = now
        User.objects.filter(pk=user.pk).update(last_seen_at=timezone.now())
