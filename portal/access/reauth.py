"""Some acts need a password typed a short while ago, however long the session is open."""

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
    """Did this person type the password within the last `minutes`, at sign-in or when asked again?"""
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - float(records[-1]["at"]) < minutes * 60


def reauthenticated(
    *, minutes: int, back: Callable[..., str] | None = None, keep_typed: bool = False
) -> Callable[[View], View]:
    """Ask for the password again unless it was typed within the last `minutes`, then come back.

    Back to the same address for a GET, to the page the form stood on for a POST; `back(request, *args, **kwargs)`
    names another place. The form comes back empty, so guard the page that shows it as well. `keep_typed`: it comes back
    at its own address as it was typed, to be submitted again; not for forms that hold secrets, since what was typed
    waits in the session. The view then finds it in `request.POST` of a GET.
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
    """Put what was typed at this address before the password was asked for into the form, once."""
    path, typed = request.session.get(_TYPED, ("", ""))
    if path == request.path:
        del request.session[_TYPED]
        request.POST = QueryDict(typed)
        messages.info(request, _("Your password was checked. Submit the form again."))


def ask_again(request: HttpRequest, back: str) -> HttpResponse:
    """Send the person to type the password, and to `back` afterwards. A fragment moves its whole page."""
    target = f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: back})}"
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
