"""Help page of states and components, and the error pages."""

from __future__ import annotations

import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.access.permissions import NotYourRole
from portal.htmx import is_fragment
from portal.state_labels import ACCOUNT_STATES, OPERATION_STATES, account_state_choices

UNAVAILABLE = (OperationalError, InterfaceError)
RETRY_SECONDS = 10


def states(request: HttpRequest) -> HttpResponse:
    """Show the meaning of every state to users, and every component to developers of the interface."""
    now = timezone.now()
    context = {
        "account_states": [(state, look.said_by("SendGrid").sentence) for state, look in ACCOUNT_STATES.items()],
        "operation_states": [(state, look.sentence) for state, look in OPERATION_STATES.items()],
        "choices": account_state_choices(),
        "form": SampleForm({"email": "mail.larkfield.example", "quantity": "3", "why": "abuse", "note": ""}),
        "page": Paginator(range(248), 50).page(2),
        "sample": SampleAccount(),
        "now": now,
        "earlier": now - timedelta(minutes=22),
        "last_read": now - timedelta(days=9),
        "next_at": now + timedelta(minutes=38),
        "amount": Decimal("539.00"),
        "less": Decimal("-203.00"),
        "steps": _sample_steps(now),
    }
    return render(request, "help/states.html", context)


class SampleAccount:
    state, state_raw, provider_label = "stopped_by_us", "deactivated", "SendGrid"


class SampleForm(forms.Form):
    email = forms.EmailField(label=gettext_lazy("Sign-in e-mail"), help_text=gettext_lazy("SendGrid writes to it."))
    package = forms.ChoiceField(
        label=gettext_lazy("Package"),
        required=False,
        choices=[("pro", "Pro 500K"), ("ess", "Essentials 100K")],
    )
    quantity = forms.IntegerField(label=gettext_lazy("Dedicated IPs"), min_value=0, max_value=9, required=False)
    why = forms.ChoiceField(
        label=gettext_lazy("Why"),
        widget=forms.RadioSelect,
        choices=[
            ("unpaid", gettext_lazy("Unpaid")),
            ("abuse", gettext_lazy("Abuse report")),
            ("asked", gettext_lazy("Customer asked")),
        ],
    )
    note = forms.CharField(
        label=gettext_lazy("Reason"), help_text=gettext_lazy("Kept in the audit log."), widget=forms.Textarea
    )
    checked = forms.BooleanField(
        label=gettext_lazy("I checked what the account loses with the customer."), required=False
    )


def _sample_steps(now: Any) -> list[dict[str, Any]]:
    return [
        {"label": _("Queued"), "state": "done", "at": now - timedelta(seconds=24)},
        {
            "label": _("List at SendGrid is still the one you saw"),
            "state": "done",
            "at": now - timedelta(seconds=12),
        },
        {"label": _("Sending the whole list to SendGrid"), "state": "now", "note": _("6 s")},
        {"label": _("Read back and compare"), "state": "next", "note": _("next")},
    ]


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _plain(request, "400.html", 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Return the 403 page. It names the permitted roles; any other reason is not shown."""
    reason = str(exception) if isinstance(exception, NotYourRole) else ""
    return _plain(request, "403.html", 403, reason=reason)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return the CSRF error page. ``reason`` is not shown: it helps an attacker more than a user."""
    return _plain(request, "403_csrf.html", 403)


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
        return HttpResponse(_("The portal failed. Reload the page to see what was saved."), status=500)


def _unavailable(request: HttpRequest) -> HttpResponse:
    """Return the page for an unavailable or overloaded database. The result of a lost COMMIT is not known."""
    if is_fragment(request):
        response = HttpResponse(_("The database does not answer. Wait a moment, then try again."), status=503)
    else:
        response = _plain(request, "503.html", 503)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response


def _plain(request: HttpRequest, template: str, status: int, *, reason: str = "") -> HttpResponse:
    context = {"request_id": getattr(request, "request_id", ""), "reason": reason}
    return HttpResponse(render_to_string(template, context), status=status)
