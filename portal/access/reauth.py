"""Reauthentication: some actions need a recently entered password, regardless of the session's age."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.access.places import page_behind
from portal.htmx import is_fragment

View = Callable[..., HttpResponse]
_TYPED = "typed_before_password"


def recent_sign_in(request: HttpRequest, minutes: int) -> bool:
    """Return whether the user entered the password within the last `minutes`, at sign-in or reauthentication."""
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - float(records[-1]["at"]) < minutes * 60


def reauthenticated(
    *, minutes: int, back: Callable[..., str] | None = None, keep_typed: bool = False
) -> Callable[[View], View]:
    """Require the password unless it was entered within the last `minutes`, then return.

    Returns to the same address after a GET, to the form's page after a POST, or to `back(request, *args, **kwargs)`.
    The form is then empty, so guard its page as well. `keep_typed`: the form returns with its input at its own address,
    to be submitted again; the view finds the input in `request.POST` of a GET. Not for forms with secrets, since the
    input is stored in the session.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if recent_sign_in(request, minutes):
                if keep_typed and request.method == "GET":
                    _restore_typed(request)
                return view(request, *args, **kwargs)
            if keep_typed and request.method == "POST":
                request.session[_TYPED] = [request.path, request.POST.urlencode()]
                return ask_again(request, request.get_full_path())
            return ask_again(request, back(request, *args, **kwargs) if back else page_behind(request))

        return guarded

    return decorate


def _restore_typed(request: HttpRequest) -> None:
    """Restore the form input stored before reauthentication at this address, once."""
    path, typed = request.session.get(_TYPED, ("", ""))
    if path == request.path:
        del request.session[_TYPED]
        request.POST = QueryDict(typed)
        messages.info(request, _("Your password was checked. Submit the form again."))


def ask_again(request: HttpRequest, back: str) -> HttpResponse:
    """Redirect to reauthentication, and to `back` afterwards. A fragment moves its whole page."""
    target = f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: back})}"
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
