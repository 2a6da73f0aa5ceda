"""Views of single sign-on: leaving for the identity provider, and coming back. Without OIDC_ISSUER they don't exist."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import get_next_redirect_url, perform_login
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from portal import audit, htmx
from portal.access import sessions
from portal.access.models import User
from portal.access.reauth import reauthenticated
from portal.access.sso import commands, queries, wire
from portal.access.sso.identity import SsoIdentity
from portal.access.sso.provider import provider_of
from portal.access.sso.refusals import SsoRefused
from portal.access.sso.stages import METHOD
from portal.access.sso.tokens import LEEWAY_SECONDS
from portal.htmx import go_to
from portal.refusals import Refusal

log = structlog.get_logger(__name__)
View = Callable[..., HttpResponse]
SIGN_IN, CONNECT, INVITATION, CONFIRM = "login", "connect", "invitation", "confirm"
_LONGEST_PARAMETER = 4096


def _sso(view: View) -> View:
    """Answer 404 without a provider, and show and record why a sign-in was refused."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not queries.is_configured():
            raise Http404
        try:
            return view(request, *args, **kwargs)
        except SsoRefused as refused:
            return _refused(request, refused)

    return guarded


@_sso
def sso_start(request: HttpRequest) -> HttpResponse:
    return _leave(request, SIGN_IN)


@_sso
def sso_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Use a one-time link to connect single sign-on."""
    if commands.person_to_connect(token) is None:
        return render(request, "access/link_ended.html", status=HTTPStatus.GONE)
    return _leave(request, INVITATION, data={"token": token})


@reauthenticated(minutes=10)
@_sso
def sso_connect(request: HttpRequest) -> HttpResponse:
    return _leave(request, CONNECT, data={"user": str(htmx.person(request).public_id)})


@reauthenticated(minutes=10)
@_sso
def sso_disconnect(request: HttpRequest) -> HttpResponse:
    try:
        commands.disconnect(person=htmx.person(request), request=request)
    except Refusal as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, _("Single sign-on disconnected. You've been signed out everywhere else."))
    return go_to(request, "profile")


@_sso
def sso_confirm(request: HttpRequest) -> HttpResponse:
    """Confirm who is there by signing in at the provider again, in place of entering a password."""
    data = {"user": str(htmx.person(request).public_id)}
    return _leave(request, CONFIRM, data=data, prompt="login", max_age="0")


def _leave(request: HttpRequest, process: str, *, data: dict[str, str] | None = None, **params: str) -> HttpResponse:
    """Send the browser to the provider. By a page and not a redirect: the content policy of the page with the form
    allows no other host."""
    state = {"data": data or {}, "next_url": get_next_redirect_url(request), "at": time.time()}
    url = provider_of(request).authorization_url(request, process=process, state=state, **params)
    response = render(request, "access/sso_leave.html", {"url": url, "name": provider_of(request).name})
    response["Refresh"] = f"0; url={url}"
    return response


@_sso
@wire.sign_in_budget()
def sso_callback(request: HttpRequest) -> HttpResponse:
    """Take the provider's answer to a sign-in that began in this browser session, once."""
    given = {name: request.GET.get(name, "") for name in ("state", "code", "error")}
    if any(len(value) > _LONGEST_PARAMETER for value in given.values()):
        raise SsoRefused("state")
    provider = provider_of(request)
    try:
        state = provider.unstash_redirect_state(request, given["state"])
    except PermissionDenied:
        raise SsoRefused("state") from None
    adapter = provider.get_oauth2_adapter(request)
    adapter.check_response_issuer(request.GET.get("iss"))
    if given["error"] or not given["code"]:
        raise SsoRefused("canceled" if given["error"] == "access_denied" else "provider_error")
    identity = adapter.identify(
        request, given["code"], verifier=state["pkce_code_verifier"], nonce=state.get("nonce", "")
    )
    arrive = {CONNECT: _connect, INVITATION: _accept, CONFIRM: _confirm}.get(state["process"], _sign_in)
    return arrive(request, identity, state)


def _sign_in(request: HttpRequest, identity: SsoIdentity, state: dict[str, Any]) -> HttpResponse:
    return _enter(request, commands.admit(identity, request=request), identity, state.get("next"))


def _accept(request: HttpRequest, identity: SsoIdentity, state: dict[str, Any]) -> HttpResponse:
    person = commands.accept_link(state["data"]["token"], identity, request=request)
    return _enter(request, person, identity, None)


def _connect(request: HttpRequest, identity: SsoIdentity, state: dict[str, Any]) -> HttpResponse:
    commands.connect(identity, person=_same_person(request, state), request=request)
    messages.success(request, _("Single sign-on connected. You've been signed out everywhere else."))
    return redirect("profile")


def _confirm(request: HttpRequest, identity: SsoIdentity, state: dict[str, Any]) -> HttpResponse:
    person = _same_person(request, state)
    link = queries.link_of(person)
    if link is None or link.uid != identity.subject:
        raise SsoRefused("another_person", person=person)
    if identity.authenticated_at < state["at"] - LEEWAY_SECONDS:
        raise SsoRefused("auth_time", person=person)
    commands.admit(identity, request=request)
    _record(request, person, identity, at=time.time())
    sessions.rotate(request)
    return redirect(state.get("next") or "home")


def _same_person(request: HttpRequest, state: dict[str, Any]) -> User:
    """Return the signed-in user, who must be the one who began."""
    if not request.user.is_authenticated or str(request.user.public_id) != state["data"]["user"]:
        raise SsoRefused("access_changed", person=request.user if request.user.is_authenticated else None)
    return request.user


def _enter(request: HttpRequest, person: User, identity: SsoIdentity, back: str | None) -> HttpResponse:
    """Sign the person in as every sign-in does, with the portal's second factor unless the provider proved one."""
    if request.user.is_authenticated:
        get_adapter(request).logout(request)
    _record(request, person, identity, at=identity.authenticated_at)
    response: HttpResponse = perform_login(request, person, redirect_url=back)
    return response


def _record(request: HttpRequest, person: User, identity: SsoIdentity, *, at: float) -> None:
    """Note in the session how and when the person proved who they are. A provider that doesn't say when counts as long
    ago: `reauthenticated` then asks."""
    record_authentication(
        request,
        person,
        METHOD,
        at=min(at, time.time()),
        provider=identity.issuer,
        second_factor=identity.has_second_factor and not queries.awaits_second_factor(person),
    )


def _refused(request: HttpRequest, refused: SsoRefused) -> HttpResponse:
    log.warning("single sign-on refused", code=refused.code, detail=refused.detail)
    if refused.code != "state":  # anyone can send a made-up one, and it concerns nobody
        audit.record(actor=None, verb="staff.sso_refused", obj=refused.person, reason=refused.code, request=request)
    context = {"explanation": refused.explanation}
    return render(request, "access/sso_refused.html", context, status=refused.explanation.status)
