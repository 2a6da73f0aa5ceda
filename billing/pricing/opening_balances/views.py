"""Views of opening balances: the list, a form for a new one, and removing one."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateformat import format as date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.models import MonthClosing, OpeningBalance
from billing.pricing.opening_balances.commands import enter_opening_balance, remove_opening_balance
from billing.pricing.opening_balances.forms import OpeningBalanceForm
from billing.pricing.statements.amounts import minor_text
from billing.usage.periods import month_or_none
from customers.operations.view_helpers import refusals_on, refusals_told
from portal.clock import database_now
from portal.edits import status_of
from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter
from portal.htmx import command_of, go_to, render_page

PER_PAGE = 50
CUSTOMERS, CONNECTIONS = "customers", "connections"
SHOWS: dict[str, str | Promise] = {
    CUSTOMERS: gettext_lazy("Customers"),
    CONNECTIONS: gettext_lazy("Connections"),
}


class BalanceFilters(ListFilters):
    q = search_filter()
    month = Filter(gettext_lazy("Month"), month_or_none, lookup="month")
    show = Filter(gettext_lazy("Show"), one_of(SHOWS))
    page = page_filter()


@require_GET
def opening_balances(request: HttpRequest) -> HttpResponse:
    filters = BalanceFilters(request.GET)
    every = OpeningBalance.objects.filter(removed_at=None)
    found = filters.narrow(every.select_related("customer", "connection", "entered_by"))
    if filters.show:
        found = found.filter(customer__isnull=filters.show == CONNECTIONS)
    if filters.q:
        found = found.filter(Q(customer__company_name__icontains=filters.q) | Q(connection__name__icontains=filters.q))
    page = filters.page_of(Paginator(found.order_by("-month", "-pk"), PER_PAGE))
    closed = set(MonthClosing.objects.exclude(state=MonthClosing.State.FAILED).values_list("month", flat=True))
    months = every.order_by("-month").values_list("month", flat=True).distinct()
    context = {
        "filters": filters,
        "page": page,
        "rows": [(row, minor_text(row.amount_minor, row.currency), row.month in closed) for row in page],
        "kept": filters.kept(),
        "choices": {
            "month": [(f"{month:%Y-%m}", date_format(month, "F Y")) for month in months],
            "show": SHOWS.items(),
        },
    }
    return render_page(request, "billing/pricing/opening_balances.html", context, filters=filters)


@require_http_methods(["GET", "POST"])
def opening_balances_add(request: HttpRequest) -> HttpResponse:
    now = database_now()
    form = OpeningBalanceForm(request.POST or None, today=now.date())
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            enter_opening_balance(command_of(request, now=now), **form.cleaned_data)
            messages.success(request, _("Opening balance entered."))
            return go_to(request, "billing:opening-balances")
    return render(request, "billing/pricing/opening_balance_new.html", {"form": form}, status=status_of(form))


@require_POST
def opening_balances_remove(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    rows = OpeningBalance.objects.select_related("customer", "connection")
    balance = get_object_or_404(rows, public_id=public_id)
    with refusals_told(request):
        remove_opening_balance(command_of(request, now=database_now()), balance=balance)
        messages.success(request, _("Opening balance removed."))
    return go_to(request, "billing:opening-balances")
