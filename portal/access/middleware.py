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
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils import timezone

from portal.access import second_factor, sessions, throttling
from portal.access.checks import refuse_to_start
from portal.access.models import User
from portal.access.permissions import ANYONE, NotYourRole, Permission, method_of, refuse, roles_of, rule_of
from portal.access.places import page_behind
from portal.access.unsent_forms import show_unsent_form
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
        route = request.resolver_match.view_name if request.resolver_match else ""
        rule = rule_of(route)
        if rule is None:
            log.error("undeclared route refused", route=route)
            raise NotYourRole(frozenset())
        permission = rule.get(method_of(request.method))
        if permission is None:
            return HttpResponseNotAllowed(sorted(rule))
        if too_many := throttling.refused_request(request, route):
            return too_many
        if ANYONE in roles_of(permission):
            return None
        if not request.user.is_authenticated or is_of_another_users_page(request, request.user):
            return to_sign_in(request)
        _check_permission(request, request.user, route, permission)
        if second_factor.is_missing(request, request.user) and route not in second_factor.ENROLMENT_ROUTES:
            return to_second_factor(request)
        if too_many := throttling.refused_person(request, route):
            return too_many
        _note_presence(request, request.user)
        return None

    middleware.process_view = process_view  # type: ignore[attr-defined]
    return middleware


def _check_permission(request: HttpRequest, user: User, route: str, permission: Permission) -> None:
    """Refuse a user without the permission. From now on, lines of the request name the user."""
    structlog.contextvars.bind_contextvars(person=str(user.public_id))
    if permission not in user.permissions:
        log.warning("permission refused", route=route, method=request.method, permission=str(permission))
        refuse(permission)


def is_of_another_users_page(request: HttpRequest, user: User) -> bool:
    """Return whether htmx sent this from the page of a user who is no longer the one signed in: in another tab of the
    same browser somebody else signed in. Nothing typed there is sent in the other's name, and nothing of theirs shown.
    """
    return is_fragment(request) and request.headers.get("X-Person", str(user.public_id)) != str(user.public_id)


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Redirect a page to sign-in and back; show a form that was sent again (401). A fragment gets a 401 instead.

    After a GET, htmx moves the whole page to sign-in (HX-Redirect). After a POST the page stays, so that its input is
    still there after signing in in another tab.
    """
    back, reads = page_behind(request), method_of(request.method) == "GET"
    if not is_fragment(request):
        if reads:
            return redirect_to_login(back)
        return show_unsent_form(request, "signed_out", status=HTTPStatus.UNAUTHORIZED)
    response = HttpResponse(status=HTTPStatus.UNAUTHORIZED)
    if reads:
        response["HX-Redirect"] = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({auth.REDIRECT_FIELD_NAME: back})}"
    return response


def to_second_factor(request: HttpRequest) -> HttpResponse:
    """Redirect a session that has to prove or set up a second factor first; show a form that was sent again (403)."""
    if request.method == "POST" and not is_fragment(request):
        return show_unsent_form(request, "second_factor", status=HTTPStatus.FORBIDDEN)
    address = resolve_url("security")
    if not is_fragment(request):
        return HttpResponseRedirect(address)
    # A page of the set-up stays, whatever it asks for: it would open anew without end.
    leads = method_of(request.method) == "GET" and not page_behind(request).startswith(address)
    return HttpResponse(status=HTTPStatus.FORBIDDEN, headers={"HX-Redirect": address} if leads else {})


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
        # Where another request holds the row, that one is activity enough: a page never waits for this note.
        free = User.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=user.pk)
        with transaction.atomic(savepoint=False):
            if free.first():
                User.objects.filter(pk=user.pk).update(last_seen_at=timezone.now())
                sessions.note_activity(request)
