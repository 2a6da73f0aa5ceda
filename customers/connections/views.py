"""Views of connections: admins manage them, auditors read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.connections import catalogue, circuit_breaker, commands
from customers.connections.forms import ConnectionForm, PauseForm, ReplaceKeyForm
from customers.connections.provider_forms import FORMS
from customers.connections.queries import check_rows, connection_rows, scope_rows
from customers.models import Connection
from portal.access.reauth import reauthenticated
from portal.audit.models import AuditEvent
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.encryption import DecryptionError
from portal.htmx import command_of, go_to
from portal.providers import CAPABILITIES, ProviderError
from portal.query_params import own_path_or_none
from portal.refusals import Refusal


def connection_list(request: HttpRequest) -> HttpResponse:
    return render(request, "customers/connections/list.html", {"connections": connection_rows()})


def connection_detail(request: HttpRequest, public_id: UUID) -> HttpResponse:
    connection = get_object_or_404(connection_rows().select_related("same_key_as"), public_id=public_id)
    return render(
        request,
        "customers/connections/detail.html",
        {
            "connection": connection,
            "breaker": circuit_breaker.breaker_status(connection),
            "checks": check_rows(connection),
            "scopes": scope_rows(connection),
            "packages": catalogue.package_choices(connection),
            "addons": catalogue.addon_choices(connection),
            "pause_form": PauseForm(),
            "same_key": [*filter(None, [connection.same_key_as]), *connection.same_key.order_by("name")],
            "catalogue_is_old": connection.catalogue_is_old(now=timezone.now()),
        },
    )


@reauthenticated(minutes=10)
def connection_create(request: HttpRequest) -> HttpResponse:
    """Show the kinds of provider first, then (`?kind=`) the form of one."""
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    if kind not in FORMS:
        return render(request, "customers/connections/choose.html", {"kinds": [CAPABILITIES[each] for each in FORMS]})
    form = FORMS[kind](request.POST or None, kind=kind)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            connection = commands.add_connection(
                command_of(request),
                facts=form.facts() | {"kind": kind},
                api_key=values["api_key"],
                v2_password=values.get("v2_password", ""),
            )
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            look_at(request, connection)
            return go_to(request, "customers:connection", connection.public_id)
    title = _("Add %(provider)s connection") % {"provider": form.capabilities.label}
    return form_page(request, form, title, _("Add and test connection"), kind=kind)


@reauthenticated(minutes=10)
def connection_edit(request: HttpRequest, public_id: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, public_id=public_id)
    form = _edit_form(connection, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            commands.edit_connection(
                command_of(request),
                connection=connection,
                facts=form.changed_facts(),
                api_key=form.cleaned_data["api_key"],
                v2_password=form.cleaned_data.get("v2_password", ""),
                seen=form.seen,
            )
        except EditConflict as conflict:
            connection = get_object_or_404(Connection, public_id=public_id)
            form.show(conflict, fresh=_edit_form(connection), last=_last_edit(connection, conflict))
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, _("Connection updated."))
            return go_to(request, "customers:connection", connection.public_id)
    return form_page(request, form, _("Edit connection"), _("Save changes"), connection=connection)


def _edit_form(connection: Connection, data: Mapping[str, Any] | None = None) -> ConnectionForm:
    return FORMS[connection.kind](data, kind=connection.kind, connection=connection)


def _last_edit(connection: Connection, conflict: EditConflict) -> AuditEvent | None:
    """Return the event of the conflicting edit. A new key appears as such, or as a replaced value."""
    named = {"ends_in", "replaced"} if "api_key_last4" in conflict.fields else set()
    return last_change(connection, {*conflict.fields, *named})


@reauthenticated(minutes=10)
def connection_key(request: HttpRequest, public_id: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, public_id=public_id)
    form = ReplaceKeyForm(request.POST or None, connection=connection)
    if request.method == "POST" and form.is_valid():
        try:
            commands.replace_key(
                command_of(request),
                connection=connection,
                api_key=form.cleaned_data["api_key"],
                v2_password=form.cleaned_data.get("v2_password") or None,
                seen=form.seen,
            )
        except EditConflict as conflict:
            connection = get_object_or_404(Connection, public_id=public_id)
            fresh = ReplaceKeyForm(connection=connection)
            form.show(conflict, fresh=fresh, last=_last_edit(connection, conflict))
        except Refusal as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
        else:
            look_at(request, connection)
            return go_to(request, "customers:connection", connection.public_id)
    return form_page(request, form, _("Replace key"), _("Replace and test key"), connection=connection)


def connection_verify(request: HttpRequest, public_id: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, public_id=public_id)
    look_at(request, connection)
    return go_to(request, "customers:connection", connection.public_id)


@reauthenticated(minutes=10)
def connection_pause(request: HttpRequest, public_id: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, public_id=public_id)
    form = PauseForm(request.POST)
    if form.is_valid():
        commands.pause_connection(
            command_of(request, form),
            connection=connection,
        )
        messages.success(request, _("%(name)s is paused. Queued operations stay queued.") % {"name": connection.name})
    else:
        messages.error(
            request,
            _("The connection wasn't paused. A reason is required. Anyone waiting for this connection will see it."),
        )
    return go_to(request, "customers:connection", connection.public_id)


@reauthenticated(minutes=10)
def connection_resume(request: HttpRequest, public_id: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, public_id=public_id)
    commands.resume_connection(command_of(request), connection=connection)
    messages.success(
        request, _("%(name)s resumed. Queued operations start within seconds.") % {"name": connection.name}
    )
    return go_to(request, "customers:connection", connection.public_id)


def connection_catalogue(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Read the catalog now. Requested from the connection's page and from the offerings forms."""
    connection = get_object_or_404(Connection, public_id=public_id)
    try:
        catalogue.refresh_catalogue(command_of(request), connection=connection)
    except Refusal as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, _("Catalog of %(name)s refreshed.") % {"name": connection.name})
    return go_to(request, catalogue_page(request, connection))


def catalogue_page(request: HttpRequest, connection: Connection) -> str:
    """Return the form that sent the request, where it is one of ours, else the connection's page."""
    back = own_path_or_none(request.POST.get("next", ""))
    return back or reverse("customers:connection", args=[connection.public_id])


def look_at(request: HttpRequest, connection: Connection) -> None:
    """Check the connection and read its catalog, where it has one; report the result. What cannot be read stays
    unchanged."""
    try:
        if not commands.verify_connection(command_of(request), connection=connection):
            messages.warning(request, _("The connection was edited during the test. Test it again."))
            return
        if connection.capabilities.offerings:
            catalogue.refresh_catalogue(command_of(request), connection=connection)
    except (Refusal, ProviderError, DecryptionError) as refusal:
        messages.error(request, str(refusal))
        return
    bad = [check for check in connection.checks if check["ok"] is False]
    if bad:
        messages.warning(
            request,
            _("Connection tested. %(n)d of %(all)d checks failed. See the details below.")
            % {"n": len(bad), "all": len(connection.checks)},
        )
    else:
        messages.success(request, _("Connection tested. No problems found."))


def form_page(request: HttpRequest, form: Any, title: str, button: str, **context: Any) -> HttpResponse:
    return render(
        request,
        "customers/connections/form.html",
        {"form": form, "title": title, "button": button} | context,
        status=status_of(form),
    )
