"""Reauthentication: some actions need a recently entered password, regardless of the session's age."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import reauthenticate_by_password
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from portal.access.forms import PasswordAgainForm
from portal.access.places import page_behind
from portal.access.unsent_forms import PASSWORD, show_unsent_form
from portal.htmx import is_fragment

View = Callable[..., HttpResponse]


def reauthenticated(*, minutes: int) -> Callable[[View], View]:
    """Require the password unless it was entered within the last `minutes`, see `confirm_first`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return confirm_first(request, minutes) or view(request, *args, **kwargs)

        return guarded

    return decorate


def confirm_first(request: HttpRequest, minutes: int) -> HttpResponse | None:
    """Return the page that asks for the password; None if it was entered within the last `minutes`, or just now.

    A page leads to reauthentication and comes back. A form that was sent is shown again with a field for the password:
    what was typed is not lost, and sending it once more carries it out.
    """
    if _recent_sign_in(request, minutes):
        return None
    in_dialog = is_fragment(request) and request.htmx.target == "dialog"  # type: ignore[attr-defined]  # by middleware
    if request.method != "POST" or (is_fragment(request) and not in_dialog):  # outside a dialog nothing is typed
        return _ask(request, page_behind(request))
    sent = PASSWORD in request.POST
    form = PasswordAgainForm(request.POST if sent else None, user=request.user, prefix=PASSWORD.partition("-")[0])
    if sent and form.is_valid():
        reauthenticate_by_password(request)
        typed = request.POST.copy()
        del typed[PASSWORD]  # a view sees what was typed into its own form
        request.POST = typed  # type: ignore[assignment]  # it may be any QueryDict
        return None
    return show_unsent_form(request, "confirm", password=form, status=422)


def _recent_sign_in(request: HttpRequest, minutes: int) -> bool:
    """Return whether the user entered the password within the last `minutes`, at sign-in or reauthentication."""
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - float(records[-1]["at"]) < minutes * 60


def _ask(request: HttpRequest, back: str) -> HttpResponse:
    """Redirect to reauthentication, and to `back` afterwards. A fragment moves its whole page."""
    target = f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: back})}"
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
