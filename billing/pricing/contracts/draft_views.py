"""Views that change the draft of a contract: its main terms, discounts, and overrides."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from billing.models import Contract
from billing.pricing.contracts import commands, queries
from billing.pricing.contracts.forms import ContractForm, DiscountForm, OverrideForm
from billing.pricing.contracts.terms import discount_of, lists_of, override_of, terms_of
from billing.pricing.lists.kinds import COMPONENTS
from billing.pricing.lists.prices import price_key
from billing.pricing.lists.versions import in_force_on
from billing.pricing.lists.wording import name_of, price_text
from customers.operations.view_helpers import add_refusal, refusals_on, refusals_told
from portal.audit.queries import last_change
from portal.edits import EditConflict, EditForm, status_of
from portal.htmx import command_of, go_to
from portal.input_bounds import read_json_input
from portal.refusals import Refusal

DISCOUNTS, OVERRIDES = "discounts", "overrides"


@require_http_methods(["GET", "POST"])
def contract_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    contract = queries.draft_contract_or_404(public_id)
    form = ContractForm(request.POST or None, contract=contract)
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                commands.edit_contract(
                    command_of(request), contract=contract, facts=form.changed_facts(), seen=form.seen
                )
                messages.success(request, _("Saved in the draft."))
                return go_to(request, "billing:contract", contract.public_id)
        except EditConflict as conflict:
            contract = queries.draft_contract_or_404(public_id)
            form.show(conflict, fresh=ContractForm(contract=contract), last=last_change(contract, conflict.fields))
    context = {"form": form, "contract": contract, "customer": contract.customer}
    return render(request, "billing/pricing/contract_edit.html", context, status=status_of(form))


@require_http_methods(["GET", "POST"])
def contract_discount(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Add a discount to a draft, or edit the one at `?n=`."""
    contract = queries.draft_contract_or_404(public_id)
    term = _term_or_404(request, contract, DISCOUNTS)

    def form_of(data: Any = None) -> DiscountForm:
        return DiscountForm(data, contract=contract, discount=term.value)

    form = form_of(request.POST or None)
    if request.method == "POST" and form.is_valid():
        found = _Opened(contract, term, form, form_of())
        if _save(request, found, value_of=lambda: discount_of(form.facts())):
            return go_to(request, "billing:contract", contract.public_id)
    return _term_page(request, "billing/pricing/contract_discount.html", contract, form, term)


@require_http_methods(["GET", "POST"])
def contract_override(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Add an override of the price that `?component=` and `?offering=` name, or edit the one at `?n=`."""
    contract = queries.draft_contract_or_404(public_id)
    term = _term_or_404(request, contract, OVERRIDES)
    priced = _prices_of(contract)
    named = term.value or {key: request.GET.get(key, "") for key in ("component", "offering")}
    if not named["component"]:
        return _component_page(request, contract, priced)
    component, offering = named["component"], named["offering"]
    if component not in COMPONENTS or (term.value is None and (offering, component) not in priced):
        raise Http404

    def form_of(data: Any = None) -> OverrideForm:
        return OverrideForm(data, contract=contract, component=component, override=term.value)

    form = form_of(request.POST or None)
    if request.method == "POST" and form.is_valid():
        found = _Opened(contract, term, form, form_of())
        if _save(request, found, value_of=lambda: override_of(component, offering, form.values())):
            return go_to(request, "billing:contract", contract.public_id)
    more = {
        "title": f"{name_of(offering)}, {COMPONENTS[component]}",
        "present": priced.get((offering, component), ""),
    }
    return _term_page(request, "billing/pricing/contract_override.html", contract, form, term, **more)


def _component_page(request: HttpRequest, contract: Contract, priced: Mapping[tuple[str, str], str]) -> HttpResponse:
    """Ask which price a new override is about."""
    choices = [
        (urlencode({"component": component, "offering": offering}), f"{name_of(offering)}, {COMPONENTS[component]}")
        for offering, component in priced
    ]
    context = {"contract": contract, "customer": contract.customer, "choices": choices}
    return render(request, "billing/pricing/contract_override_new.html", context)


def _prices_of(contract: Contract) -> dict[tuple[str, str], str]:
    """Return the prices of the contract's lists on its first day, or today, by offering and component, in words."""
    day = contract.valid_from or timezone.now().date()
    found = {}
    for price_list in lists_of(terms_of(contract)):
        version = in_force_on(price_list, day) or in_force_on(price_list, date.max)
        for price in version.prices if version else []:
            found[price_key(price)] = price_text(price, price_list.currency)
    return found


@dataclass(frozen=True)
class _Term:
    """A discount or override of a draft; `index` and `value` are None for a new one."""

    part: str
    index: int | None
    value: dict[str, Any] | None


def _term_or_404(request: HttpRequest, contract: Contract, part: str) -> _Term:
    text, rows = request.GET.get("n", ""), terms_of(contract)[part]
    if not text:
        return _Term(part, None, None)
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) < len(rows)):
        raise Http404
    return _Term(part, int(text), rows[int(text)])


@dataclass(frozen=True)
class _Opened:
    """A valid form of a discount or override, and the same form with what is stored now."""

    contract: Contract
    term: _Term
    form: EditForm
    fresh: EditForm


def _save(request: HttpRequest, opened: _Opened, *, value_of: Callable[[], dict[str, Any]]) -> bool:
    """Save a discount or an override as a whole. Where someone changed it since the form was opened, the form shows
    both values instead. Return whether it was saved."""
    contract, term, form = opened.contract, opened.term, opened.form
    if term.index is not None and form.seen != opened.fresh.stored():
        form.show_all(opened.fresh, last=last_change(contract, {term.part.removesuffix("s")}))
        return False
    try:
        commands.replace_term(
            command_of(request),
            contract=contract,
            part=term.part,
            index=term.index,
            value=value_of(),
            was=term.value,
        )
    except Refusal as refusal:
        add_refusal(form, refusal)
        return False
    messages.success(request, _("Saved in the draft."))
    return True


def _term_page(
    request: HttpRequest, page: str, contract: Contract, form: EditForm, term: _Term, **more: Any
) -> HttpResponse:
    context = {
        "form": form,
        "contract": contract,
        "customer": contract.customer,
        "is_new": term.index is None,
        "index": term.index,
        "part": term.part,
        "here": request.get_full_path(),
    }
    return render(request, page, context | more, status=status_of(form))


@require_POST
def contract_term_remove(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Remove the discount or override at `?n=` of the part `?part=`, as the page showed it."""
    contract = queries.draft_contract_or_404(public_id)
    part = request.GET.get("part", "")
    if part not in (DISCOUNTS, OVERRIDES):
        raise Http404
    term = _term_or_404(request, contract, part)
    if term.index is None:
        raise Http404
    with refusals_told(request):
        commands.replace_term(
            command_of(request), contract=contract, part=part, index=term.index, value=None, was=_seen(request)
        )
        messages.success(request, _("Removed from the draft."))
    return go_to(request, "billing:contract", contract.public_id)


def _seen(request: HttpRequest) -> dict[str, Any]:
    """Return the term that the page showed; {} where it can't be read, which is no term."""
    try:
        found = read_json_input(request.POST.get("was", ""), parse_float=Decimal)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
