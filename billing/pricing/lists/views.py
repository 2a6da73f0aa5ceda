"""Views of price lists: all of them, one with its versions, and its name."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.models import ContractPriceList, PriceList, Side
from billing.pricing.amounts import COMMON
from billing.pricing.lists import commands, queries
from billing.pricing.lists.filters import SHOWS, PriceListFilters
from billing.pricing.lists.forms import NewListForm, PriceListForm
from billing.pricing.lists.kinds import provider_label
from billing.pricing.lists.versions import DRAFT, IN_FORCE, version_rows
from billing.pricing.lists.wording import items_of_prices
from customers.operations.view_helpers import refusals_on, refusals_told
from portal.access.permissions import Permission
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to, person, render_page
from portal.providers import CAPABILITIES

PER_PAGE = 50


@require_GET
def price_lists(request: HttpRequest) -> HttpResponse:
    with_cost = person(request).may(Permission.VIEW_COST)
    filters = PriceListFilters(request.GET, with_cost=with_cost)
    rows = queries.price_list_rows(person(request), filters, today=timezone.now().date())
    page = filters.page_of(Paginator(rows, PER_PAGE))
    every = queries.visible_lists(person(request))
    context = {
        "filters": filters,
        "page": page,
        "rows": [(each, provider_label(each.provider_kind)) for each in page],
        "kept": filters.kept("q"),
        "with_cost": with_cost,
        "narrowed": any(filters.query.get(name) for name in ("q", "side", "provider", "currency", "show")),
        "choices": {
            "side": Side.choices if with_cost else [],
            "provider": [(each.kind, each.label) for each in CAPABILITIES.values()],
            "currency": [(code, code) for code in _currencies(every)],
            "show": SHOWS.items(),
        },
        "tab": "lists",
    }
    return render_page(request, "billing/pricing/lists.html", context, filters=filters)


def _currencies(lists: Any) -> list[str]:
    return list(lists.order_by("currency").values_list("currency", flat=True).distinct())


@require_http_methods(["GET", "POST"])
def price_list_create(request: HttpRequest) -> HttpResponse:
    with_cost = person(request).may(Permission.VIEW_COST)
    form = NewListForm(request.POST or None, with_cost=with_cost)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            created = commands.create_price_list(command_of(request), **form.facts())
            messages.success(request, _("Price list created. Add prices to its draft, then publish it."))
            return go_to(request, "billing:price-list", created.public_id)
    context = {"form": form, "common": COMMON}
    return render(request, "billing/pricing/list_new.html", context, status=status_of(form))


@require_GET
def price_list_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    price_list = queries.price_list_or_404(person(request), public_id)
    versions = price_list.versions.select_related("published_by")
    rows = version_rows(versions, timezone.now().date())
    current = next((row for row in rows if row.state == IN_FORCE), None)
    contracts = ContractPriceList.objects.filter(price_list=price_list)
    context = {
        "price_list": price_list,
        "provider": provider_label(price_list.provider_kind),
        "versions": [row for row in rows if row.state != DRAFT],
        "draft": next((row.version for row in rows if row.state == DRAFT), None),
        "current": current,
        "items": items_of_prices(current.version.prices, price_list.currency) if current else [],
        "customers": contracts.values("contract__customer").distinct().count(),
        "is_cost": price_list.side == Side.COST,
    }
    return render(request, "billing/pricing/list.html", context)


@require_http_methods(["GET", "POST"])
def price_list_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    price_list = queries.price_list_or_404(person(request), public_id)
    form = PriceListForm(request.POST or None, initial=_facts(price_list))
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                commands.edit_price_list(
                    command_of(request), price_list=price_list, facts=form.changed_facts(), seen=form.seen
                )
                messages.success(request, _("Saved."))
                return go_to(request, "billing:price-list", price_list.public_id)
        except EditConflict as conflict:
            price_list = queries.price_list_or_404(person(request), public_id)
            last = last_change(price_list, conflict.fields)
            form.show(conflict, fresh=PriceListForm(initial=_facts(price_list)), last=last)
    context = {"form": form, "price_list": price_list}
    return render(request, "billing/pricing/list_edit.html", context, status=status_of(form))


def _facts(price_list: PriceList) -> dict[str, Any]:
    return {"name": price_list.name}


@require_POST
def price_list_archive(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    price_list = queries.price_list_or_404(person(request), public_id)
    with refusals_told(request):
        commands.archive_price_list(command_of(request), price_list=price_list)
        messages.success(request, _("Price list archived. Contracts that have it keep it."))
    return go_to(request, "billing:price-list", price_list.public_id)


@require_POST
def price_list_restore(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    price_list = queries.price_list_or_404(person(request), public_id)
    with refusals_told(request):
        commands.restore_price_list(command_of(request), price_list=price_list)
        messages.success(request, _("Price list restored."))
    return go_to(request, "billing:price-list", price_list.public_id)
