"""Views of exchange rates."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from billing.models import ExchangeRate
from billing.pricing.amounts import COMMON, code_or_none
from billing.pricing.rates.commands import add_exchange_rate
from billing.pricing.rates.forms import ExchangeRateForm
from customers.operations.view_helpers import refusals_on
from portal.edits import status_of
from portal.filters import Filter, ListFilters, page_filter
from portal.htmx import command_of, go_to, render_page

PER_PAGE = 50


class RateFilters(ListFilters):
    currency = Filter(gettext_lazy("Currency"), code_or_none)
    page = page_filter()


@require_GET
def exchange_rates(request: HttpRequest) -> HttpResponse:
    filters = RateFilters(request.GET)
    later = ExchangeRate.objects.filter(
        from_currency=OuterRef("from_currency"), to_currency=OuterRef("to_currency"), on=OuterRef("on"),
        pk__gt=OuterRef("pk"),
    )  # fmt: skip
    found = filters.narrow(ExchangeRate.objects.select_related("by")).annotate(is_replaced=Exists(later))
    if filters.currency:
        found = found.filter(Q(from_currency=filters.currency) | Q(to_currency=filters.currency))
    every = ExchangeRate.objects.order_by()
    pairs = {code for pair in every.values_list("from_currency", "to_currency").distinct() for code in pair}
    page = filters.page_of(Paginator(found.order_by("-on", "from_currency", "to_currency", "-pk"), PER_PAGE))
    context = {
        "filters": filters,
        "page": page,
        "rows": [(each, f"{each.rate.normalize():f}") for each in page],
        "currencies": [(code, code) for code in sorted(pairs)],
        "tab": "rates",
    }
    return render_page(request, "billing/pricing/rates.html", context, filters=filters)


@require_http_methods(["GET", "POST"])
def exchange_rate_add(request: HttpRequest) -> HttpResponse:
    form = ExchangeRateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            add_exchange_rate(command_of(request), **form.cleaned_data)
            messages.success(request, _("Exchange rate added."))
            return go_to(request, "billing:exchange-rates")
    context = {"form": form, "common": COMMON}
    return render(request, "billing/pricing/rate_new.html", context, status=status_of(form))
