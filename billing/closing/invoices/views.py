"""Views of provider invoices: the list, an invoice with its lines, entering one by form or file, and withdrawing it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from billing.closing.invoices import commands, queries
from billing.closing.invoices.csv_file import COLUMNS, InvoiceFile, check_file, lines_of
from billing.closing.invoices.forms import HeaderForm, ImportInvoiceForm, NewInvoiceForm, WithdrawForm
from billing.closing.invoices.queries import InvoiceFilters, InvoiceLineFilters
from billing.closing.invoices.texts import AccountNames, minor_of
from billing.models import InvoiceLineKind, ProviderInvoice
from billing.pricing.statements.amounts import minor_text
from customers.models import Connection
from customers.operations.view_helpers import refusals_on
from portal.access.permissions import Permission
from portal.audit.queries import last_change
from portal.clock import database_now
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to, person, render_page


@require_GET
def provider_invoices(request: HttpRequest) -> HttpResponse:
    filters = InvoiceFilters(request.GET)
    found = filters.narrowed()
    page = queries.invoice_page(filters, request.GET.get("page", ""))
    connections = Connection.objects.order_by("name").values_list("public_id", "name")
    context = {
        "filters": filters,
        "page": page,
        "rows": [(row, minor_text(row.total_minor, row.currency)) for row in page],
        "sums": queries.invoice_sums(found),
        "kept": filters.kept(),
        "choices": {
            "connection": [(str(pk), name) for pk, name in connections],
            "month": [(f"{each:%Y-%m}", f"{each:%Y-%m}") for each in _months()],
            "state": ProviderInvoice.State.choices,
        },
    }
    return render_page(request, "billing/closing/invoices.html", context, filters=filters)


def _months() -> list[Any]:
    return list(ProviderInvoice.objects.dates("issued_on", "month", order="DESC")[:24])


@require_http_methods(["GET", "POST"])
def provider_invoice_add(request: HttpRequest) -> HttpResponse:
    """Enter the header of an invoice; its lines follow on its page."""
    form = NewInvoiceForm(request.POST or None, initial={"connection": request.GET.get("connection", "")[:40]})
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        with refusals_on(form):
            invoice = commands.enter_invoice(
                command_of(request, now=database_now()),
                connection=said["connection"],
                number=said["number"],
                issued_on=said["issued_on"],
                currency=said["currency"],
                total_minor=minor_of(said["total"], said["currency"], field="total"),
                note=said["note"],
            )
            messages.success(request, _("Invoice entered. Add its lines."))
            return go_to(request, "billing:provider-invoice", invoice.public_id)
    return render(request, "billing/closing/invoice_new.html", {"form": form}, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def provider_invoice_import(request: HttpRequest) -> HttpResponse:
    """Enter an invoice from a CSV file. Where a cell can't be read nothing is stored."""
    form = ImportInvoiceForm(request.POST or None, request.FILES or None)
    found = None
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        found = check_file(said["file"], decimal=said["decimal"])
        if found.is_right:
            with refusals_on(form, fields={"number": "file"}):
                return _imported(request, said, found)
    wrong = bool(form.errors) or found is not None
    context = {"form": form, "found": found, "columns": COLUMNS, "kinds": InvoiceLineKind.values}
    return render(request, "billing/closing/invoice_import.html", context, status=422 if wrong else 200)


def _imported(request: HttpRequest, said: dict[str, Any], found: InvoiceFile) -> HttpResponse:
    total, file, connection = said["total"], said["file"], said["connection"]
    command = command_of(request, now=database_now())
    invoice = commands.enter_invoice(
        command,
        connection=connection,
        number=found.number,
        issued_on=found.issued_on or command.now.date(),
        currency=found.currency,
        total_minor=found.sum_minor if total is None else minor_of(total, found.currency, field="total"),
        filename=file.name,
        lines=lines_of(file, decimal=said["decimal"], names=AccountNames(connection.pk)),
    )
    messages.success(request, _("Invoice imported."))
    return go_to(request, "billing:provider-invoice", invoice.public_id)


def invoice_or_404(public_id: uuid.UUID) -> ProviderInvoice:
    rows = ProviderInvoice.objects.select_related("connection", "closing", "entered_by")
    return get_object_or_404(rows, public_id=public_id)


def may_change(request: HttpRequest, invoice: ProviderInvoice) -> bool:
    is_open = invoice.state == ProviderInvoice.State.ENTERED and invoice.closing is None
    return is_open and person(request).may(Permission.CLOSE_MONTHS)


@require_GET
def provider_invoice(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    invoice, filters = invoice_or_404(public_id), InvoiceLineFilters(request.GET)
    page = queries.line_page(invoice, filters, request.GET.get("page", ""))
    context = {
        "invoice": invoice,
        "total": minor_text(invoice.total_minor, invoice.currency),
        "totals": queries.totals_of(invoice),
        "filters": filters,
        "page": page,
        "rows": [(line, minor_text(line.amount_minor, invoice.currency)) for line in page],
        "kept": filters.kept(),
        "choices": {"kind": InvoiceLineKind.choices, "account": queries.MATCHES.items()},
        "may_change": may_change(request, invoice),
    }
    return render_page(request, "billing/closing/invoice.html", context, filters=filters)


@require_http_methods(["GET", "POST"])
def provider_invoice_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    invoice = invoice_or_404(public_id)
    form = HeaderForm(request.POST or None, initial=commands.header_of(invoice))
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                commands.edit_invoice(command_of(request), invoice=invoice, facts=form.changed_facts(), seen=form.seen)
                messages.success(request, _("Saved."))
                return go_to(request, "billing:provider-invoice", invoice.public_id)
        except EditConflict as conflict:
            invoice.refresh_from_db()
            fresh = HeaderForm(initial=commands.header_of(invoice))
            form.show(conflict, fresh=fresh, last=last_change(invoice, conflict.fields))
    context = {"form": form, "invoice": invoice}
    return render(request, "billing/closing/invoice_edit.html", context, status=status_of(form))


@require_http_methods(["GET", "POST"])
def provider_invoice_withdraw(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    invoice = invoice_or_404(public_id)
    form = WithdrawForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            commands.withdraw_invoice(command_of(request), invoice=invoice, reason=form.cleaned_data["reason"])
            messages.success(request, _("Invoice withdrawn."))
            return go_to(request, "billing:provider-invoice", invoice.public_id)
    context = {"form": form, "invoice": invoice, "total": minor_text(invoice.total_minor, invoice.currency)}
    return render(request, "billing/closing/invoice_withdraw.html", context, status=422 if form.errors else 200)
