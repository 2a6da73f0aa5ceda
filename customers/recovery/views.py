"""The page "Recovery" after a restore from a backup: admins release connections, auditors read."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from customers.connections.forms import PauseForm
from customers.models import Recovery
from customers.operations.view_helpers import refusals_told
from customers.recovery import commands, queries
from portal.access.reauth import reauthenticated
from portal.clock import database_now
from portal.htmx import command_of, go_to


@require_GET
def recovery_page(request: HttpRequest) -> HttpResponse:
    return render(request, "customers/recovery/page.html", queries.connections_on_hold())


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def recovery_release(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Release a connection. One whose list can't be scanned to its end needs a reason, for which GET shows the form."""
    on_hold = Recovery.objects.filter(released_at=None).select_related("connection")
    recovery = get_object_or_404(on_hold, connection__public_id=public_id)
    needs_reason = commands.cannot_be_scanned(recovery)
    form = PauseForm(request.POST or None) if needs_reason else None
    if request.method == "GET" or (form and not form.is_valid()):
        context = {"form": form or PauseForm(), "recovery": recovery, "here": request.get_full_path()}
        # A page for htmx as well: there is no dialog of it.
        return render(
            request, "customers/recovery/release.html", context, status=422 if form and form.is_bound else 200
        )
    with refusals_told(request):
        commands.release_connection(command_of(request, form, now=database_now()), recovery=recovery)
        messages.success(
            request, _("%(name)s is released. Queued operations start within seconds.") % {"name": recovery.connection}
        )
    return go_to(request, "customers:recovery")
