"""Views of the billing settings of connections."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from billing.models import ConnectionBilling
from billing.pricing.connections.commands import billing_of, edit_connection_billing
from billing.pricing.connections.forms import ConnectionBillingForm
from customers.forms import zones
from customers.models import Connection
from customers.operations.view_helpers import refusals_on
from portal.access.permissions import Permission, refuse
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to, person


@require_GET
def connection_billings(request: HttpRequest) -> HttpResponse:
    stored = {each.connection_id: each for each in ConnectionBilling.objects.select_related("cost_list")}
    rows = [
        (each, stored.get(each.pk) or ConnectionBilling(connection=each))
        for each in Connection.objects.order_by("name")
    ]
    return render(request, "billing/pricing/connections.html", {"rows": rows, "tab": "connections"})


@require_http_methods(["GET", "POST"])
def connection_billing(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the settings to those who see cost, and change them."""
    if not person(request).may(Permission.VIEW_COST):
        refuse(Permission.VIEW_COST)
    connection = get_object_or_404(Connection, public_id=public_id)
    form = ConnectionBillingForm(request.POST or None, billing=billing_of(connection))
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                edit_connection_billing(
                    command_of(request), connection=connection, facts=form.changed_facts(), seen=form.seen
                )
                messages.success(request, _("Saved."))
                return go_to(request, "billing:connection-billings")
        except EditConflict as conflict:
            fresh = ConnectionBillingForm(billing=billing_of(connection))
            form.show(conflict, fresh=fresh, last=last_change(connection, conflict.fields))
    context = {
        "form": form,
        "connection": connection,
        "zones": zones(),
        "may_change": person(request).may(Permission.MANAGE_PRICES),
    }
    return render(request, "billing/pricing/connection_billing.html", context, status=status_of(form))
