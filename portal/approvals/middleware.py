"""Middleware that turns a change that needs approval into a request, or shows why it is refused, whatever view made it.

An admin breaks the glass on the page of the refusal: the same form is sent again with a reason and a confirmation.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from portal.access.reauth import confirm_first
from portal.access.unsent_forms import RESENT, SECRETS, unsent_form
from portal.approvals import commands, gate
from portal.htmx import GLASS_CONFIRMED, GLASS_REASON, command_of, go_to, is_fragment
from portal.refusals import Refusal
from portal.typed_text import comparable

GetResponse = Callable[[HttpRequest], HttpResponse]


def approvals_first(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        return get_response(request)

    def process_view(request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Ask for the password before the glass is broken, also where the form alone does not need it."""
        if request.method == "POST" and GLASS_CONFIRMED in request.POST and request.user.is_authenticated:
            return confirm_first(request, 10)
        return None

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, gate.ApprovalRequired):
            return _requested(request, exception)
        if isinstance(exception, gate.NobodyLeft):
            return _refused(request, exception)
        return None

    middleware.process_view = process_view  # type: ignore[attr-defined]  # Django calls it
    middleware.process_exception = process_exception  # type: ignore[attr-defined]  # as above
    return middleware


def _requested(request: HttpRequest, needed: gate.ApprovalRequired) -> HttpResponse:
    command = command_of(request)
    reason = comparable(needed.reason or request.POST.get("reason", ""))
    try:
        approval = commands.request_approval(command.because(reason), needed.change)
    except Refusal as refusal:
        messages.error(request, str(refusal))
        return go_to(request, "approvals:list")
    messages.success(request, _("Approval requested. Nothing was changed yet."))
    return go_to(request, approval.get_absolute_url())


def _refused(request: HttpRequest, refused: gate.NobodyLeft) -> HttpResponse:
    """Show the refusal with what was typed, and to an admin how to break the glass. Secrets are entered again."""
    unsent = unsent_form(request)
    glass = {GLASS_REASON, GLASS_CONFIRMED}
    unsent.fields[:] = [(name, value) for name, value in unsent.fields if name not in glass]
    unsent.typed[:] = [each for each in unsent.typed if not each[0].lower().startswith("glass")]
    unsent.secrets.clear()  # this page has fields for them
    secrets = [name for name in request.POST if name.rpartition("-")[2] in SECRETS and request.POST[name]]
    context = {
        "refusal": refused,
        "unsent": unsent,
        "resent": RESENT,
        "secrets": secrets,
        "reason": request.POST.get(GLASS_REASON, ""),
        "min_length": gate.GLASS_REASON_MIN,
        "is_unconfirmed": GLASS_REASON in request.POST and GLASS_CONFIRMED not in request.POST,
    }
    template = "approvals/_nobody_left.html" if is_fragment(request) else "approvals/nobody_left.html"
    return render(request, template, context, status=HTTPStatus.UNPROCESSABLE_ENTITY)
