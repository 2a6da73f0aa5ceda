"""The error pages, and the page shown when CSRF verification fails."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from portal.access.middleware import is_of_another_users_page, to_sign_in
from portal.access.permissions import ANYONE, NotYourRole, roles_of, rule_of
from portal.access.unsent_forms import show_unsent_form
from portal.htmx import is_fragment

UNAVAILABLE = (OperationalError, InterfaceError)
RETRY_SECONDS = 10


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _plain(request, "400.html", 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Return the 403 page. It names the permitted roles; any other reason is not shown."""
    reason = str(exception) if isinstance(exception, NotYourRole) else ""
    return _plain(request, "403.html", 403, reason=reason)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request whose CSRF token is missing or stale, as after signing in again in another tab.

    If it comes from a page of the portal, nothing typed is lost: htmx gets the new token (X-CSRFToken) to send the
    request once more, if the user of its page (X-Person) is still the one signed in, and a form is shown again. Any
    other request gets an error page. ``reason`` is not shown: it helps an attacker more than a user.
    """
    if not _from_own_page(request, reason) or not _needs_sign_in(request):
        return _plain(request, "403_csrf.html", 403)
    if not request.user.is_authenticated or is_of_another_users_page(request, request.user):
        return to_sign_in(request)
    if is_fragment(request):
        return HttpResponse(status=403, headers={"X-CSRFToken": get_token(request)})
    return show_unsent_form(request, "stale", status=403)


def _from_own_page(request: HttpRequest, reason: str) -> bool:
    """Return whether Django checked the request's origin, or its referrer, and refused the token alone."""
    checked = "Origin" in request.headers or request.is_secure()
    return checked and reason.startswith(("CSRF cookie", "CSRF token"))


def _needs_sign_in(request: HttpRequest) -> bool:
    match = request.resolver_match
    permission = (rule_of(match.view_name) or {}).get("POST") if match else None
    return permission is not None and ANYONE not in roles_of(permission)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _plain(request, "404.html", 404)


def too_many_requests(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _plain(request, "429.html", 429)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the error page, without context processors: they may have failed. Django has logged the error."""
    if isinstance(sys.exc_info()[1], UNAVAILABLE):
        return _unavailable(request)
    try:
        return _plain(request, "500.html", 500)
    except Exception:  # noqa: BLE001 - the page of last resort must not fail, whatever did
        return HttpResponse(_("Something went wrong. Reload the page to see what was saved."), status=500)


def _unavailable(request: HttpRequest) -> HttpResponse:
    """Return the page for an unavailable or overloaded database. The result of a lost COMMIT is not known."""
    if is_fragment(request):
        response = HttpResponse(_("The database is not responding. Wait a moment, then try again."), status=503)
    else:
        response = _plain(request, "503.html", 503)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response


def _plain(request: HttpRequest, template: str, status: int, *, reason: str = "") -> HttpResponse:
    context = {"request_id": getattr(request, "request_id", ""), "reason": reason}
    return HttpResponse(render_to_string(template, context), status=status)
