"""Views of draft statements: a month's list, one statement with its lines, findings, and their files.

What customers pay and what connections cost have routes of their own: the latter need the permission to see cost.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from billing.models import Side, Statement
from billing.pricing.statements import queries
from billing.pricing.statements.adjustment_facts import adjusted_by
from billing.pricing.statements.drafts import draft_of
from billing.pricing.statements.explanations import shown_lines
from billing.pricing.statements.filters import CostFilters, StatementFilters, months_offered
from billing.pricing.statements.labels import EXACTNESS, FINDINGS, OF_COST
from billing.pricing.statements.numbers import billing_terms, statement_number
from billing.pricing.statements.queries import statement_amount
from billing.usage.periods import last_day
from customers.models import Customer
from portal.access.permissions import Permission
from portal.clock import database_now
from portal.downloads import Content, recorded_download, table
from portal.exports import refused_export
from portal.filters import Filter, ListFilters, one_of, page_filter
from portal.htmx import person, render_page

STATEMENTS_SHOWN = 12
FORMATS = {"csv": gettext_lazy("CSV"), "xlsx": gettext_lazy("Excel (XLSX)")}


@require_GET
def statement_list(request: HttpRequest) -> HttpResponse:
    filters = StatementFilters(request.GET, now=timezone.now())
    return _list(request, filters, "billing/statements/list.html")


@require_GET
def cost_list(request: HttpRequest) -> HttpResponse:
    filters = CostFilters(request.GET, now=timezone.now())
    return _list(request, filters, "billing/statements/costs.html")


def _list(request: HttpRequest, filters: StatementFilters, template: str) -> HttpResponse:
    context: dict[str, Any] = {
        "filters": filters,
        "months": months_offered(filters, request.GET),
        "export_query": f"{request.GET.urlencode()}&" if request.GET else "",
        "formats": FORMATS.items(),
        "is_cost": filters.side == Side.COST,
        "with_cost": person(request).may(Permission.VIEW_COST),
    }
    if not filters.lists_nothing:
        page = queries.statement_page(filters, request.GET.get("page", ""))
        counts = queries.month_counts(filters)
        sums = queries.sums_by_currency(filters.narrowed())
        prefix = billing_terms().number_prefix
        context |= {
            "page": page,
            "rows": [(row, statement_amount(row), statement_number(row.number, prefix)) for row in page],
            "counts": counts,
            "sums": sums,
            "kept": filters.kept(),
            "choices": {
                "currency": [(each.amount.currency, each.amount.currency) for each in sums],
                "amount": EXACTNESS.items(),
                "state": Statement.State.choices,
                "finding": [
                    (code, label.title)
                    for code, label in FINDINGS.items()
                    if filters.side == Side.COST or code not in OF_COST
                ],
            },
        }
    return render_page(request, template, context, filters=filters)


# A document on paper has all lines on one page, up to so many.
PRINTED_LINES = 5_000


class LineFilters(ListFilters):
    """The page of a statement's lines, or `lines=all` of them, for printing."""

    lines = Filter(gettext_lazy("Lines"), one_of(["all"]))
    page = page_filter()


@require_GET
def statement(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show what a customer pays for a month. The drafts are rated again first, if anything changed."""
    found = _statement_or_404(public_id, Side.SELL)
    if found.customer and found.state == Statement.State.DRAFT:
        drafts = _rate(found.customer, found)
        if drafts and found not in drafts:  # a contract gave it a currency, or took the last line in this one
            return redirect("billing:statement", drafts[0].public_id)
        found = _statement_or_404(public_id, Side.SELL)
    return _detail(request, found)


@require_GET
def cost_statement(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show what a provider charges for a connection in a month, as last rated."""
    return _detail(request, _statement_or_404(public_id, Side.COST))


def _rate(customer: Customer, found: Statement) -> list[Statement]:
    try:
        return draft_of(customer, found.month, now=database_now())
    except DatabaseError:  # another process rates them and holds the lock: what is stored is shown, with its time
        if not Statement.objects.filter(pk=found.pk).exists():
            raise
        return []


def _statement_or_404(public_id: uuid.UUID, side: Side) -> Statement:
    rows = Statement.objects.select_related("customer", "connection", "closing__requested_by").filter(side=side)
    return get_object_or_404(rows, public_id=public_id)


def _detail(request: HttpRequest, found: Statement) -> HttpResponse:
    filters = LineFilters(request.GET)
    lines = found.lines.select_related("account", "account__connection").order_by("n")
    paginator = Paginator(lines, PRINTED_LINES if filters.lines else queries.LINES_A_PAGE)
    paginator.count = found.lines_count  # stored, so that 100,000 lines are not counted
    page = filters.page_of(paginator)
    context = {
        "statement": found,
        "amount": statement_amount(found),
        "filters": filters,
        "page": page,
        "lines": shown_lines(list(page.object_list), found.currency),
        "findings": queries.finding_groups(found),
        "is_cost": found.side == Side.COST,
        "formats": FORMATS.items(),
        "others": _others(found),
        "adjusted_by": adjusted_by(found),
        "is_closed": found.state == Statement.State.CLOSED,
        "number": statement_number(found.number, billing_terms().number_prefix),
        "month_end": last_day(found.month),
    }
    return render_page(request, "billing/statements/detail.html", context, filters=filters)


def _others(found: Statement) -> QuerySet[Statement]:
    """Return the statements of the same customer or connection in other currencies of the month."""
    rows = Statement.objects.filter(
        side=found.side, month=found.month, customer=found.customer_id, connection=found.connection_id
    )
    return rows.exclude(pk=found.pk).exclude(currency="").order_by("currency")


class FindingFilters(StatementFilters):
    """The month of the findings."""

    currency = Filter(gettext_lazy("Currency"), lambda _text: None)


@require_GET
def statement_findings(request: HttpRequest) -> HttpResponse:
    filters = FindingFilters(request.GET, now=timezone.now())
    context: dict[str, Any] = {"filters": filters, "months": months_offered(filters, request.GET)}
    context["with_cost"] = person(request).may(Permission.VIEW_COST)
    if not filters.lists_nothing:
        context["rows"] = queries.finding_rows(filters.month, with_cost=context["with_cost"])
    return render_page(request, "billing/statements/findings.html", context, filters=filters)


@require_GET
def statements_export(request: HttpRequest) -> HttpResponseBase:
    filters = StatementFilters(request.GET, now=timezone.now())
    return _list_file(request, filters, "statements", queries.LIST_HEADER)


@require_GET
def costs_export(request: HttpRequest) -> HttpResponseBase:
    filters = CostFilters(request.GET, now=timezone.now())
    return _list_file(request, filters, "costs", queries.COST_HEADER)


def _list_file(request: HttpRequest, filters: StatementFilters, name: str, header: Sequence[str]) -> HttpResponseBase:
    if filters.lists_nothing:
        return refused_export(filters)
    content = table(header, queries.statement_rows(filters))
    verb = "costs.exported" if filters.side == Side.COST else "statements.exported"
    return _file(request, f"{name}-{filters.month:%Y-%m}", content, verb=verb, filters=filters)


@require_GET
def statement_export(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    return _lines_file(request, _statement_or_404(public_id, Side.SELL))


@require_GET
def cost_export(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    return _lines_file(request, _statement_or_404(public_id, Side.COST))


def _lines_file(request: HttpRequest, found: Statement) -> HttpResponseBase:
    name = f"statement-{found.month:%Y-%m}-{found.public_id.hex[:8]}-{found.currency or 'none'}"
    facts = {"month": f"{found.month:%Y-%m}"}
    content = table(queries.LINE_HEADER, queries.line_rows(found))
    verb = "costs.exported" if found.side == Side.COST else "statements.exported"
    return _file(request, name, content, verb=verb, obj=found, facts=facts)


def _file(request: HttpRequest, name: str, content: Content, *, verb: str, **about: Any) -> HttpResponseBase:
    file_format = request.GET.get("format", "csv")
    if file_format not in FORMATS:
        return HttpResponseBadRequest(_("Select CSV or Excel (XLSX)."), content_type="text/plain; charset=utf-8")
    return recorded_download(request, f"{name}.{file_format}", content, verb=verb, **about)


@require_GET
def customer_drafts(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the fragment of a customer's page: its statements of the last months, this one "so far"."""
    customer = get_object_or_404(Customer, public_id=public_id)
    this_month = timezone.now().date().replace(day=1)
    draft_of(customer, this_month, now=database_now())
    found = Statement.objects.filter(side=Side.SELL, customer=customer).exclude(currency="")
    rows = [(row, statement_amount(row)) for row in found.order_by("-month", "currency")[:STATEMENTS_SHOWN]]
    context = {"customer": customer, "rows": rows, "this_month": this_month}
    return render(request, "billing/statements/_customer.html", context)
