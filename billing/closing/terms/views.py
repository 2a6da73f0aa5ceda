"""The page of the billing terms."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from billing.closing.terms.commands import edit_billing_terms
from billing.closing.terms.forms import BillingTermsForm
from billing.models import Statement
from billing.pricing.statements.numbers import billing_terms, statement_number
from customers.operations.view_helpers import refusals_on
from portal.access.permissions import Permission
from portal.audit.models import AuditEvent
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to, person


@require_http_methods(["GET", "POST"])
def terms(request: HttpRequest) -> HttpResponse:
    """Show the billing terms, and change them."""
    stored = billing_terms()
    form = BillingTermsForm(request.POST or None, terms=stored)
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                edit_billing_terms(command_of(request), facts=form.changed_facts(), seen=form.seen)
                messages.success(request, _("Saved."))
                return go_to(request, "billing:billing-terms")
        except EditConflict as conflict:
            last = AuditEvent.objects.filter(verb="billing.terms_edited").order_by("-id").first()
            form.show(conflict, fresh=BillingTermsForm(terms=billing_terms()), last=last)
    context = {
        "form": form,
        "tab": "terms",
        "may_change": person(request).may(Permission.CLOSE_MONTHS),
        "has_numbers": Statement.objects.filter(number__isnull=False).exists(),
        "example": statement_number(1, stored.number_prefix),
    }
    return render(request, "billing/closing/terms.html", context, status=status_of(form))
