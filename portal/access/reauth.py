"""Confirmation: some actions need proof of who is there, given recently, regardless of the session's age.

A person with a second factor confirms with it (a code or a passkey), others with their password: a stolen session has
neither.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import reauthenticate_by_password
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import auth as webauthn
from django import forms
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal.access import second_factor, sessions
from portal.access.confirmation import checked_code, note_use
from portal.access.credentials import CredentialField
from portal.access.forms import PasskeyForm, code_field
from portal.access.models import User
from portal.access.places import page_behind
from portal.access.unsent_forms import CONFIRM, show_unsent_form
from portal.htmx import is_fragment, person

View = Callable[..., HttpResponseBase]


class ConfirmForm(forms.Form):
    """Form to confirm with: a field for every second factor the person has; without one, their password."""

    def __init__(self, *args: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request, self.user = request, user
        types = {each.type for each in second_factor.authenticators_of(user)}
        self.has_passkey = second_factor.TYPE.WEBAUTHN in types
        self.has_code = second_factor.TYPE.TOTP in types
        if self.has_passkey:
            self.fields["credential"] = CredentialField(required=False)
        if self.has_passkey or self.has_code:
            self.fields["code"] = code_field(_("Code") if self.has_code else _("Recovery code"))
            self.fields["code"].required = False
        else:
            self.fields["password"] = forms.CharField(
                label=_("Password"),
                strip=False,
                max_length=256,
                widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
            )

    def ways(self) -> dict[str, bool]:
        return {"has_passkey": self.has_passkey, "has_code": self.has_code}

    def clean(self) -> dict[str, Any]:
        held = super().clean() or {}
        if self.errors:
            return held
        if "password" in self.fields:
            self._check_password(held["password"])
        elif held.get("credential"):
            self._check_passkey(held["credential"])
        elif held.get("code"):
            self._check_code(held["code"])
        else:
            self.add_error("code", _("Enter a code, or use a passkey."))
        return held

    def _check_password(self, password: str) -> None:
        try:
            if get_adapter(self.request).is_own_password(self.user, password):
                reauthenticate_by_password(self.request)
            else:
                self.add_error("password", _("Incorrect password."))
        except ValidationError as too_many:
            self.add_error("password", too_many)

    def _check_code(self, code: str) -> None:
        try:
            note_use(checked_code(self.user, code), confirms=True)
        except ValidationError as wrong:
            self.add_error("code", wrong)

    def _check_passkey(self, credential: Any) -> None:
        form = PasskeyForm({"credential": json.dumps(credential)}, user=self.user)
        if form.is_valid():
            found: Authenticator = form.cleaned_data["credential"]
            note_use(found, confirms=True)
        else:
            self.add_error("code", form.errors["credential"].as_data())


def passkey_options(user: User) -> dict[str, Any]:
    """Return what the browser asks one of the user's passkeys for."""
    options: dict[str, Any] = webauthn.begin_authentication(user)
    return options


def reauthenticated(*, minutes: int, besides_sign_in: bool = False) -> Callable[[View], View]:
    """Require a confirmation within the last `minutes`, see `confirm_first`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            asked = confirm_first(request, minutes, besides_sign_in=besides_sign_in)
            return asked or view(request, *args, **kwargs)

        return guarded

    return decorate


def confirm_first(request: HttpRequest, minutes: int, *, besides_sign_in: bool = False) -> HttpResponse | None:
    """Return the page that asks to confirm; None if that was done within the last `minutes`, or just now.
    `besides_sign_in`: of a person with a second factor, signing in doesn't count as a confirmation.

    A page leads to the confirmation and comes back. A form that was sent is shown again with the fields to confirm:
    what was typed is not lost, and sending it once more carries it out.
    """
    if _is_recent(request, person(request), minutes, besides_sign_in=besides_sign_in):
        return None
    in_dialog = is_fragment(request) and request.htmx.target == "dialog"  # type: ignore[attr-defined]  # by middleware
    if request.method != "POST" or (is_fragment(request) and not in_dialog):  # outside a dialog nothing is typed
        return _ask(request, page_behind(request))
    sent = [name for name in request.POST if name.startswith(f"{CONFIRM}-")]
    form = ConfirmForm(request.POST if sent else None, request=request, user=person(request), prefix=CONFIRM)
    if sent and form.is_valid():
        sessions.rotate(request)
        typed = request.POST.copy()
        for name in sent:  # a view sees what was typed into its own form
            del typed[name]
        request.POST = typed  # type: ignore[assignment]  # it may be any QueryDict
        return None
    return show_unsent_form(request, "confirm", confirm=form, status=422)


def _is_recent(request: HttpRequest, user: User, minutes: int, *, besides_sign_in: bool) -> bool:
    """Return whether the person signed in or confirmed within the last `minutes`; with a second factor, if they have
    one. Only the last record counts."""
    records = [
        each for each in get_authentication_records(request, user) if time.time() - float(each["at"]) < minutes * 60
    ]
    if not records or not second_factor.has_one(user):
        return bool(records)
    last = records[-1]
    proves = last.get("method") == "mfa" or last.get("second_factor") is True
    return proves and (last.get("reauthenticated") is True or not besides_sign_in)


def _ask(request: HttpRequest, back: str) -> HttpResponse:
    """Redirect to the confirmation, and to `back` afterwards. A fragment moves its whole page."""
    target = f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: back})}"
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
