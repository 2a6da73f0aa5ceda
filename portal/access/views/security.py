"""Views of a person's own sign-in: second factors, recovery codes, and sessions."""

from __future__ import annotations

import base64
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn.internal import auth as webauthn
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from portal import htmx
from portal.access import second_factor, sessions
from portal.access.forms import AppForm, PasskeyNameForm
from portal.access.models import User
from portal.access.reauth import reauthenticated
from portal.htmx import go_to
from portal.refusals import Refusal
from portal.security_headers import CONTENT_SECURITY_POLICY


def security(request: HttpRequest) -> HttpResponse:
    return _page(request)


def _page(request: HttpRequest, *, refusal: str = "", status: int = 200) -> HttpResponse:
    person = htmx.person(request)
    rows = second_factor.authenticators_of(person)
    factors = [row for row in rows if row.type != second_factor.TYPE.RECOVERY_CODES]
    context = {
        "factors": [{"row": row, "is_passkey": row.type == second_factor.TYPE.WEBAUTHN} for row in factors],
        "has_app": any(row.type == second_factor.TYPE.TOTP for row in factors),
        "codes_left": second_factor.recovery_codes_left(person),
        "is_required": second_factor.is_required_of(person),
        "is_missing": second_factor.is_missing(request, person),
        "sessions": sessions.sessions_of(person, request),
        "refusal": refusal,
    }
    return _render(request, "security", context, status=status)


def _render(request: HttpRequest, page: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Render a page. Where nothing else opens yet, without the navigation, whose counts would be refused."""
    plain = second_factor.is_missing(request, htmx.person(request))
    layout = "base_plain.html" if plain else "base.html"
    return render(request, f"access/{page}.html", {"layout": layout, **context}, status=status)


@reauthenticated(minutes=10, besides_sign_in=True)
def add_app(request: HttpRequest) -> HttpResponse:
    person = htmx.person(request)
    form = AppForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            if second_factor.keep_app(request, user=person, code=form.cleaned_data["code"]):
                return _added(request, person)
            form.add_error("code", _("Incorrect code. Enter the code that the app shows now."))
        except Refusal as refusal:
            form.add_error(None, str(refusal))
    secret = second_factor.pending_secret(request)  # the same in every tab, until its first code
    adapter = get_adapter()
    url = adapter.build_totp_url(person, secret)
    picture = base64.b64encode(adapter.build_totp_svg(url).encode()).decode()
    context = {"form": form, "secret": secret, "picture": f"data:image/svg+xml;base64,{picture}"}
    response = _render(request, "add_app", context, status=422 if form.is_bound else 200)
    # The picture holds the secret: it is part of the page instead of having an address.
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace("img-src 'self'", "img-src 'self' data:")
    return response


@reauthenticated(minutes=10, besides_sign_in=True)
def add_passkey(request: HttpRequest) -> HttpResponse:
    person = htmx.person(request)
    form = PasskeyNameForm(request.POST or None, user=person)
    if request.method == "POST" and form.is_valid():
        facts = form.cleaned_data
        try:
            second_factor.keep_passkey(request, user=person, name=facts["name"], credential=facts["credential"])
            return _added(request, person)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
    context = {"form": form, "options": {"creation_options": webauthn.begin_registration(person, passwordless=True)}}
    return _render(request, "add_passkey", context, status=422 if form.is_bound else 200)


def _added(request: HttpRequest, person: User) -> HttpResponse:
    """After the first second factor, show recovery codes; they are the way back from a lost phone."""
    messages.success(request, _("Second factor added. Your other sessions were ended."))
    if second_factor.recovery_codes_left(person) == 0:
        return _show_codes(request, person)
    return go_to(request, "security")


@reauthenticated(minutes=10, besides_sign_in=True)
def remove_factor(request: HttpRequest, factor: int) -> HttpResponse:
    try:
        second_factor.remove_own(request, user=htmx.person(request), authenticator_id=factor)
    except Refusal as refusal:
        return _page(request, refusal=str(refusal), status=409)
    messages.success(request, _("Second factor removed. Your other sessions were ended."))
    return go_to(request, "security")


@reauthenticated(minutes=10, besides_sign_in=True)
def recovery_codes(request: HttpRequest) -> HttpResponse:
    try:
        return _show_codes(request, htmx.person(request))
    except Refusal as refusal:
        return _page(request, refusal=str(refusal), status=409)


def _show_codes(request: HttpRequest, person: User) -> HttpResponse:
    """Show new codes in the response to the POST itself: a redirect would need to store them."""
    codes = second_factor.make_recovery_codes(request, user=person)
    context: dict[str, Any] = {"codes": codes, "as_text": "\n".join(codes)}
    return _render(request, "recovery_codes", context)


@reauthenticated(minutes=10)
def end_own_session(request: HttpRequest, session: int) -> HttpResponse:
    if any(each.is_this and each.id == session for each in sessions.sessions_of(htmx.person(request), request)):
        return _page(request, refusal=_("This is the session you use. Sign out to end it."), status=409)
    sessions.end_one(htmx.command_of(request), person=htmx.person(request), session_id=session)
    messages.success(request, _("Session ended."))
    return go_to(request, "security")


@reauthenticated(minutes=10)
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    try:
        ended = sessions.end_others(request, person=htmx.person(request))
    except Refusal as refusal:
        return _page(request, refusal=str(refusal), status=409)
    messages.success(request, _("Other sessions ended: %(n)d.") % {"n": ended})
    return go_to(request, "security")
