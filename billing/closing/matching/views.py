"""Views of the comparison of a connection's month with its provider's invoices."""

from __future__ import annotations

import uuid
from datetime import date

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from billing.closing.matching import queries
from billing.closing.matching.current import compare_stale, current_comparisons, stored_comparisons
from billing.closing.matching.queries import ComparisonSums, MatchFilters
from billing.models import Side, Statement
from billing.usage.periods import month_after, month_or_none
from customers.models import Connection
from portal.access.permissions import Permission
from portal.clock import database_now
from portal.downloads import recorded_download, table
from portal.exports import refused_export
from portal.htmx import person, render_page


def _month_or_404(text: str) -> date:
    month = month_or_none(text)
    if month is None or not date(2000, 2, 1) <= month <= date(2200, 1, 1):
        raise Http404
    return month


@require_GET
def invoice_comparison(request: HttpRequest, public_id: uuid.UUID, month: str) -> HttpResponse:
    """Show a connection's month, compared again first if anything changed and it isn't large."""
    connection, of_month = get_object_or_404(Connection, public_id=public_id), _month_or_404(month)
    left = compare_stale(of_month, now=database_now(), connections=[connection.pk])
    found = stored_comparisons(of_month, [connection.pk])
    filters = MatchFilters(request.GET, comparisons=found)
    costs = Statement.objects.filter(side=Side.COST, connection=connection, month=of_month).exclude(currency="")
    by_currency = {each.currency: each for each in costs.defer("versions").order_by("currency")}
    page = queries.match_page(filters, request.GET.get("page", ""))
    comparison = filters.comparison
    context = {
        "connection": connection,
        "month": of_month,
        "before": month_after(of_month, -1),
        "after": month_after(of_month),
        "filters": filters,
        "comparison": comparison,
        "others": [each for each in found if each != comparison],
        "sums": ComparisonSums(comparison) if comparison else None,
        "is_stale": bool(left),
        "cost": by_currency.get(comparison.currency) if comparison else None,
        "page": page,
        "rows": queries.shown_matches(comparison, list(page), has_cost=comparison.currency in by_currency)
        if comparison
        else [],
        "kept": filters.kept(),
        "export_query": request.GET.urlencode(),
        "may_change": person(request).may(Permission.CLOSE_MONTHS),
    }
    return render_page(request, "billing/closing/comparison.html", context, filters=filters)


@require_GET
def invoice_comparison_export(request: HttpRequest, public_id: uuid.UUID, month: str) -> HttpResponseBase:
    connection, of_month = get_object_or_404(Connection, public_id=public_id), _month_or_404(month)
    found = current_comparisons(of_month, now=database_now(), connections=[connection.pk])
    filters = MatchFilters(request.GET, comparisons=found)
    if filters.lists_nothing:
        return refused_export(filters)
    if filters.comparison is None:
        raise Http404
    told = {"month": f"{of_month:%Y-%m}", "currency": filters.comparison.currency}
    name = f"invoices-{of_month:%Y-%m}-{filters.comparison.currency}-{connection.public_id.hex[:8]}.csv"
    content = table(queries.HEADER, queries.match_rows(filters))
    verb = "invoice.comparison_exported"
    return recorded_download(request, name, content, verb=verb, obj=connection, filters=filters, facts=told)
