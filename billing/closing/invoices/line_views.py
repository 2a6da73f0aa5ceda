"""Views of the lines of a provider invoice: add, edit, and remove one, and assign its account."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from billing.closing.invoices import commands, queries
from billing.closing.invoices.forms import AssignForm, LineForm, RemoveLineForm
from billing.closing.invoices.views import invoice_or_404
from billing.models import ProviderInvoice, ProviderInvoiceLine
from billing.pricing.statements.amounts import minor_text
from customers.models import Account, Offering
from customers.operations.view_helpers import refusals_on, refusals_told
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to
from portal.query_params import searchable

_OFFERED = 200


def _line_or_404(invoice: ProviderInvoice, n: int) -> ProviderInvoiceLine:
    return get_object_or_404(invoice.lines.select_related("account"), n=min(n, 2**31 - 1))


def _line_page(
    request: HttpRequest, invoice: ProviderInvoice, form: LineForm, line: ProviderInvoiceLine | None = None
) -> HttpResponse:
    known = Offering.objects.filter(connection=invoice.connection_id).order_by("name")
    context = {
        "form": form,
        "invoice": invoice,
        "line": line,
        "offerings": known.values_list("name", flat=True)[:_OFFERED],
    }
    return render(request, "billing/closing/invoice_line.html", context, status=status_of(form))


@require_http_methods(["GET", "POST"])
def invoice_line_add(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Add a line. Its service days begin as those of the last one."""
    invoice = invoice_or_404(public_id)
    last = invoice.lines.order_by("n").last()
    form = LineForm(request.POST or None, initial={"start_on": last.start_on, "end_on": last.end_on} if last else {})
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            line = commands.add_line(command_of(request), invoice=invoice, facts=form.facts())
            messages.success(request, _("Line %(n)d added.") % {"n": line.n})
            return go_to(request, "billing:provider-invoice", invoice.public_id)
    return _line_page(request, invoice, form)


@require_http_methods(["GET", "POST"])
def invoice_line_edit(request: HttpRequest, public_id: uuid.UUID, n: int) -> HttpResponse:
    invoice = invoice_or_404(public_id)
    line = _line_or_404(invoice, n)
    form = LineForm(request.POST or None, initial=commands.line_facts(line, invoice.currency))
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                commands.edit_line(
                    command_of(request), invoice=invoice, n=n, facts=form.changed_facts(), seen=form.seen
                )
                messages.success(request, _("Line saved."))
                return go_to(request, "billing:provider-invoice", invoice.public_id)
        except EditConflict as conflict:
            line.refresh_from_db()
            fresh = LineForm(initial=commands.line_facts(line, invoice.currency))
            form.show(conflict, fresh=fresh, last=last_change(invoice, conflict.fields))
    return _line_page(request, invoice, form, line)


@require_POST
def invoice_line_remove(request: HttpRequest, public_id: uuid.UUID, n: int) -> HttpResponse:
    invoice, form = invoice_or_404(public_id), RemoveLineForm(request.POST)
    if form.is_valid():
        with refusals_told(request):
            commands.remove_line(command_of(request), invoice=invoice, n=n, seen_edits=form.cleaned_data["edits"])
            messages.success(request, _("Line removed."))
    return go_to(request, "billing:provider-invoice", invoice.public_id)


@require_http_methods(["GET", "POST"])
def invoice_line_account(request: HttpRequest, public_id: uuid.UUID, n: int) -> HttpResponse:
    """Choose the account that a line, and those that write the same account, are about."""
    invoice = invoice_or_404(public_id)
    line = _line_or_404(invoice, n)
    if request.method == "POST":
        return _assigned(request, invoice, n)
    words = searchable(request.GET.get("q", line.account_text))
    same = invoice.lines.filter(account_text=line.account_text, account=None).exclude(n=n)
    context = {
        "invoice": invoice,
        "line": line,
        "amount": minor_text(line.amount_minor, invoice.currency),
        "others": same.count() if line.account_text else 0,
        "words": words,
        "accounts": queries.suggested_accounts(invoice.connection, words),
    }
    return render(request, "billing/closing/invoice_account.html", context)


def _assigned(request: HttpRequest, invoice: ProviderInvoice, n: int) -> HttpResponse:
    form = AssignForm(request.POST)
    if form.is_valid():
        account = get_object_or_404(Account, public_id=form.cleaned_data["account"])
        with refusals_told(request):
            lines = commands.assign_account(command_of(request), invoice=invoice, n=n, account=account)
            text = ngettext("Account assigned to %(n)d line.", "Account assigned to %(n)d lines.", lines)
            messages.success(request, text % {"n": lines})
    return go_to(request, "billing:provider-invoice", invoice.public_id)
