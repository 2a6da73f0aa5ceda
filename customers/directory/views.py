"""Views of customers: the list, one customer, and its details and notes, which no provider gets."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from customers.directory.commands import add_note, archive_customer, edit_customer, restore_customer
from customers.directory.export import HEADER, customer_export_lines
from customers.directory.filter_choices import filter_choices
from customers.directory.filters import SIZES, CustomerFilters
from customers.directory.forms import CustomerForm, NoteForm
from customers.directory.list import list_page, moving_accounts, rows_of_accounts
from customers.directory.queries import customer_page
from customers.directory.tabs import tabs_of
from customers.directory.timeline import timeline_of_customer
from customers.models import Account, Customer
from customers.operations.view_helpers import refusals_told
from portal.access.permissions import Permission
from portal.audit.queries import last_change
from portal.consistent_reads import consistent_read
from portal.downloads import ready_lines, recorded_download
from portal.edits import EditConflict, status_of
from portal.exports import refused_export
from portal.htmx import command_of, go_to, is_fragment, person, render_page, rows_asked
from portal.query_params import uuid_or_none
from portal.refusals import Refusal


@require_GET
def customer_list(request: HttpRequest) -> HttpResponse:
    if "rows" in request.GET:
        return _moving(request)
    filters = CustomerFilters(request.GET, person(request))
    page = list_page(filters, request.GET.get("page", ""))
    context = {
        "page": page,
        "moving": moving_accounts(page),
        "filters": filters,
        "choices": filter_choices(filters),
        "sizes": SIZES,
        "kept": filters.kept("size"),
    }
    if not is_fragment(request):
        context["tabs"] = tabs_of(filters, page.paginator.count)
    return render_page(request, "customers/list.html", context, filters=filters)


def _moving(request: HttpRequest) -> HttpResponse:
    """Render rows of the list whose operations ran when they were shown; the list polls until all have ended."""
    wanted, part = rows_asked(request)
    rows = rows_of_accounts(wanted)
    context = {
        "rows": rows,
        "moving": moving_accounts(rows),
        "part": part,
        "may_bulk": person(request).may(Permission.CHANGE_IN_BULK),
    }
    return render(request, "customers/_moving_rows.html", context)


@require_GET
def customer_export(request: HttpRequest) -> HttpResponseBase:
    """Export the list as filtered, every page of it."""
    filters = CustomerFilters(request.GET, person(request))
    if filters.lists_nothing:
        return refused_export(filters)
    name = f"customers-{timezone.now():%Y-%m-%d}.csv"
    content = ready_lines(HEADER, customer_export_lines(filters))
    return recorded_download(request, name, content, verb="customers.exported", filters=filters)


@require_GET
@consistent_read()
def customer_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    customer = _customer_or_404(public_id)
    if is_fragment(request):
        context = {"customer": customer, "found": customer_page(customer, request.GET.get("page", ""))}
        return render(request, "customers/_customer_accounts.html", context)
    return _detail(request, customer, NoteForm())


def _detail(request: HttpRequest, customer: Customer, note: NoteForm, *, status: int = 200) -> HttpResponse:
    context = {
        "found": customer_page(customer, request.GET.get("page", "")),
        "customer": customer,
        "timeline": timeline_of_customer(customer, asked=request.GET),
        "here": reverse("customers:customer-timeline", args=[customer.public_id]),
        "page_url": reverse("customers:detail", args=[customer.public_id]),
        "note_form": note,
    }
    return render(request, "customers/detail.html", context, status=status)


@require_http_methods(["GET", "POST"])
def customer_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    customer = _customer_or_404(public_id)
    form = CustomerForm(request.POST or None, customer=customer, initial=_facts(customer))
    if request.method == "POST" and form.is_valid():
        try:
            changed = edit_customer(
                command_of(request),
                customer=customer,
                facts=form.changed_facts(),
                seen=form.seen,
            )
        except EditConflict as conflict:
            customer = _customer_or_404(public_id)
            fresh = CustomerForm(customer=customer, initial=_facts(customer))
            form.show(conflict, fresh=fresh, last=last_change(customer, conflict.fields))
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, _("Saved.") if changed else _("No changes to save."))
            return go_to(request, "customers:detail", customer.public_id)
    providers = sorted({each.provider_label for each in customer.accounts.select_related("connection")})
    context = {"customer": customer, "form": form, "providers": providers}
    return render(request, "customers/edit.html", context, status=status_of(form))


@require_POST
def customer_archive(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    customer = _customer_or_404(public_id)
    with refusals_told(request):
        archive_customer(command_of(request), customer=customer)
        messages.success(request, _("Customer archived. It's still in the “Archived” view, with its history."))
    return go_to(request, "customers:detail", customer.public_id)


@require_POST
def customer_restore(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    customer = _customer_or_404(public_id)
    restore_customer(command_of(request), customer=customer)
    messages.success(request, _("Customer restored."))
    return go_to(request, "customers:detail", customer.public_id)


@require_POST
def note_add(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Store a note. From an account's page the redirect and the refreshed timeline are the account's."""
    customer = _customer_or_404(public_id)
    account = _account_of(customer, request.POST.get("account", ""))
    form = NoteForm(request.POST)
    if form.is_valid():
        add_note(
            command_of(request),
            customer=customer,
            account=account,
            text=form.cleaned_data["text"],
        )
        if not is_fragment(request):
            return go_to(request, *_page_of(customer, account))
        form = NoteForm()
    context = {"customer": customer, "account": account, "note_form": form}
    if not is_fragment(request):
        return _detail(request, customer, form, status=422)
    response = render(request, "customers/_note_form.html", context, status=422 if form.errors else 200)
    if not form.errors:
        trigger_client_event(response, "timeline-changed")
        trigger_client_event(response, "toast", {"text": _("Note added."), "kind": "good"})
    return response


def _customer_or_404(public_id: uuid.UUID) -> Customer:
    return get_object_or_404(Customer.objects.select_related("owner"), public_id=public_id)


def _account_of(customer: Customer, public_id: str) -> Account | None:
    wanted = uuid_or_none(public_id)
    return customer.accounts.filter(public_id=wanted).first() if wanted else None


def _page_of(customer: Customer, account: Account | None) -> tuple[str, uuid.UUID]:
    return ("customers:account", account.public_id) if account else ("customers:detail", customer.public_id)


def _facts(customer: Customer) -> dict[str, Any]:
    facts = {name: getattr(customer, name) for name in CustomerForm.base_fields if name != "owner"}
    return facts | {"owner": customer.owner.public_id if customer.owner else None}
