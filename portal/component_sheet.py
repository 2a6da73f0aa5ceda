"""The component sheet: every component and state of the interface, for developers."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.state_labels import ACCOUNT_STATES, OPERATION_STATES, account_state_choices


def components(request: HttpRequest) -> HttpResponse:
    """Show every component and state, in the demo and with DEBUG only."""
    if not (settings.DEBUG or settings.DEMO):
        raise Http404
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
    return render(request, "help/components.html", context)


class SampleAccount:
    state, state_raw, provider_label = "stopped_by_us", "deactivated", "SendGrid"


class SampleForm(forms.Form):
    email = forms.EmailField(
        label=gettext_lazy("Login email"), help_text=gettext_lazy("SendGrid sends account emails to this address.")
    )
    package = forms.ChoiceField(
        label=gettext_lazy("Package"),
        required=False,
        choices=[("pro", "Pro 500K"), ("ess", "Essentials 100K")],
    )
    quantity = forms.IntegerField(label=gettext_lazy("Dedicated IPs"), min_value=0, max_value=9, required=False)
    why = forms.ChoiceField(
        label=gettext_lazy("Category"),
        widget=forms.RadioSelect,
        choices=[
            ("unpaid", gettext_lazy("Unpaid")),
            ("abuse", gettext_lazy("Abuse report")),
            ("asked", gettext_lazy("Customer request")),
        ],
    )
    note = forms.CharField(
        label=gettext_lazy("Reason"), help_text=gettext_lazy("Recorded in the audit log."), widget=forms.Textarea
    )
    checked = forms.BooleanField(label=gettext_lazy("I've confirmed these changes with the customer."), required=False)


def _sample_steps(now: Any) -> list[dict[str, Any]]:
    return [
        {"label": _("Queued"), "state": "done", "at": now - timedelta(seconds=24)},
        {
            "label": _("Offerings at SendGrid are unchanged"),
            "state": "done",
            "at": now - timedelta(seconds=12),
        },
        {"label": _("Sending all offerings to SendGrid"), "state": "now", "note": _("6 s")},
        {"label": _("Verifying the result"), "state": "next", "note": _("next")},
    ]
