"""Views of contracts: the list, those of a customer, and one contract with what it agrees."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.models import Contract
from billing.pricing.contract_days import DRAFT, IN_FORCE, SCHEDULED
from billing.pricing.contracts import commands, queries
from billing.pricing.contracts.filters import ENDING, SHOWS, WITHOUT, ContractFilters
from billing.pricing.contracts.forms import EndForm, PublishContractForm
from billing.pricing.contracts.terms import lists_of, terms_of
from billing.pricing.contracts.wording import commit_text, discount_lines, override_lines
from billing.pricing.lists.kinds import provider_label
from customers.models import Customer
from customers.operations.view_helpers import refusals_on
from portal.htmx import command_of, go_to, render_page
from portal.paging import LongPaginator
from portal.query_params import uuid_or_none
from portal.refusals import Refusal

PER_PAGE = 50


@require_GET
def contract_list(request: HttpRequest) -> HttpResponse:
    filters, today = ContractFilters(request.GET), timezone.now().date()
    without = filters.show == WITHOUT
    rows = (queries.customers_without if without else queries.listed_contracts)(filters, today=today)
    page = filters.page_of(LongPaginator(rows, PER_PAGE))
    context = {
        "filters": filters,
        "page": page,
        "without": without,
        "rows": list(page) if without else queries.rows_of_contracts(list(page), today=today),
        "kept": filters.kept("q"),
        "kept_on": filters.kept("on"),
        "choices": {"show": SHOWS.items(), "ending": ENDING.items()},
        "narrowed": any(filters.query.get(name) for name in ("q", "show", "on", "ending", "list")),
        "today": today,
        "tab": "contracts",
    }
    return render_page(request, "billing/pricing/contracts.html", context, filters=filters)


@require_GET
def customer_contracts(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show a customer's contracts; as a fragment, the panel of the customer's page."""
    customer = get_object_or_404(Customer, public_id=public_id)
    rows = queries.contracts_of(customer, today=timezone.now().date())
    context = {
        "customer": customer,
        "rows": rows,
        "current": next((row for row in rows if row.state == IN_FORCE), None),
        "scheduled": [row for row in rows if row.state == SCHEDULED],
        "draft": next((row.contract for row in rows if row.state == DRAFT), None),
    }
    part = "billing/pricing/_contracts_panel.html"
    return render_page(request, "billing/pricing/customer_contracts.html", context, part=part)


@require_POST
def contract_start(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Open the customer's draft; a new one starts from the contract in force, or from the one that is corrected."""
    customer = get_object_or_404(Customer, public_id=public_id)
    source = None
    if chosen := request.POST.get("source", ""):
        rows = Contract.objects.filter(customer=customer, published_at__isnull=False)
        source = get_object_or_404(rows, public_id=uuid_or_none(chosen))
    try:
        draft = commands.start_contract(command_of(request), customer=customer, source=source)
    except Refusal as refusal:
        messages.warning(request, str(refusal))
        return go_to(request, "billing:customer-contracts", customer.public_id)
    return go_to(request, "billing:contract", draft.public_id)


@require_GET
def contract_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    contract = queries.contract_or_404(public_id)
    return render(request, "billing/pricing/contract.html", _context(contract))


def _context(contract: Contract) -> dict[str, Any]:
    [row] = queries.rows_of_contracts([contract], today=timezone.now().date())
    terms = terms_of(contract)
    return {
        "contract": contract,
        "customer": contract.customer,
        "row": row,
        "is_draft": row.state == DRAFT,
        "may_end": row.state in (IN_FORCE, SCHEDULED),
        "lists": [(each, provider_label(each.provider_kind)) for each in lists_of(terms)],
        "commit": commit_text(terms["commit"], contract.currency),
        "discounts": discount_lines(terms["discounts"]),
        "overrides": override_lines(terms["overrides"]),
    }


@require_http_methods(["GET", "POST"])
def contract_publish(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    contract = queries.contract_or_404(public_id)
    if contract.published_at and request.method == "GET":
        return go_to(request, "billing:contract", contract.public_id)
    form = PublishContractForm(request.POST or None, initial={"edits": contract.edits})
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            commands.publish_contract(command_of(request), contract=contract, seen_edits=form.cleaned_data["edits"])
            messages.success(request, _("Contract published. Draft statements are rated again when you open them."))
            return go_to(request, "billing:customer-contracts", contract.customer.public_id)
    rows = queries.contracts_of(contract.customer, today=timezone.now().date())
    context = _context(contract) | {
        "form": form,
        "edits": contract.edits,
        "is_incomplete": contract.valid_from is None or not lists_of(terms_of(contract)),
        "current": next((row for row in rows if row.state == IN_FORCE), None),
        "replaced": [
            row for row in rows if row.contract.published_at and row.contract.valid_from == contract.valid_from
        ],
    }
    return render(request, "billing/pricing/contract_publish.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def contract_end(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    contract = queries.contract_or_404(public_id)
    if contract.published_at is None:
        raise Http404
    form = EndForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            commands.end_contract(
                command_of(request),
                contract=contract,
                last_on=form.cleaned_data["last_on"],
                seen_edits=form.cleaned_data["edits"] or 0,
            )
            messages.success(request, _("The end of the contract is published."))
            return go_to(request, "billing:customer-contracts", contract.customer.public_id)
    draft = Contract.objects.filter(customer=contract.customer, published_at=None, edits__gt=0).first()
    context = _context(contract) | {"form": form, "draft": draft}
    return render(request, "billing/pricing/contract_end.html", context, status=422 if form.errors else 200)
