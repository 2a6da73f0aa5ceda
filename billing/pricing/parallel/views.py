"""Views of parallel months: the list, an upload, a comparison with its file, and matching by hand."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.models import ParallelMonth, ParallelResult, ParallelRow
from billing.pricing.parallel import commands, queries
from billing.pricing.parallel.comparison import counts_by_state
from billing.pricing.parallel.forms import EditsForm, MatchForm, UploadForm
from billing.pricing.parallel.queries import ResultFilters
from billing.pricing.parallel.spreadsheet import COLUMNS, Sheet, read_sheet
from customers.models import Customer
from customers.operations.view_helpers import refusals_told
from portal.clock import database_now
from portal.downloads import recorded_download, table
from portal.exports import refused_export
from portal.filters import ListFilters, page_filter
from portal.htmx import command_of, go_to, render_page
from portal.query_params import searchable

A_PAGE = 50


class MonthListFilters(ListFilters):
    page = page_filter()


@require_GET
def parallel_months(request: HttpRequest) -> HttpResponse:
    filters = MonthListFilters(request.GET)
    page = filters.page_of(Paginator(ParallelMonth.objects.select_related("by"), A_PAGE))
    context = {"page": page, "rows": queries.with_counts(list(page)), "filters": filters}
    return render_page(request, "billing/parallel/list.html", context, filters=filters)


@require_http_methods(["GET", "POST"])
def parallel_upload(request: HttpRequest) -> HttpResponse:
    form = UploadForm(request.POST or None, request.FILES or None, today=timezone.now().date())
    sheet = None
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        sheet = read_sheet(said["file"].name, said["file"].read(), decimal=said["decimal"], currency=said["currency"])
        if sheet.rows:
            return _uploaded(request, said, sheet)
    wrong = bool(form.errors) or sheet is not None
    context = {"form": form, "sheet": sheet, "columns": COLUMNS}
    return render(request, "billing/parallel/upload.html", context, status=422 if wrong else 200)


def _uploaded(request: HttpRequest, said: dict[str, Any], sheet: Sheet) -> HttpResponse:
    parallel = commands.upload_month(
        command_of(request, now=database_now()),
        month=said["month"],
        filename=said["file"].name,
        rows=sheet.rows,
        currency=said["currency"],
        ignored=sheet.ignored,
    )
    return go_to(request, "billing:parallel-month", parallel.public_id)


@require_GET
def parallel_month(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show a comparison, or its progress."""
    parallel = _month_or_404(public_id)
    filters = ResultFilters(request.GET)
    page = queries.result_page(parallel, filters, request.GET.get("page", ""))
    sums, counts = queries.result_sums(parallel), counts_by_state(parallel)
    context = {
        "parallel": parallel,
        "filters": filters,
        "page": page,
        "rows": queries.shown_results(list(page)),
        "sums": sums,
        "tabs": [("", _("All"), sum(counts.values()))]
        + [(state, label, counts[state]) for state, label in ParallelResult.State.choices if state in counts],
        "left_out": parallel.rows.filter(match=ParallelRow.Match.LEFT_OUT).count(),
        "currencies": [(each.currency, each.currency) for each in sums],
        "export_query": request.GET.urlencode(),
        "kept": filters.kept(),
    }
    return render_page(request, "billing/parallel/month.html", context, filters=filters)


@require_GET
def parallel_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the fragment that polls until the month is compared."""
    return render(request, "billing/parallel/_progress.html", {"parallel": _month_or_404(public_id)})


@require_POST
def parallel_compare(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    parallel, form = _month_or_404(public_id), EditsForm(request.POST)
    if form.is_valid():
        with refusals_told(request):
            commands.compare_again(
                command_of(request, now=database_now()), parallel=parallel, seen_edits=form.cleaned_data["edits"]
            )
    return go_to(request, "billing:parallel-month", parallel.public_id)


@require_http_methods(["GET", "POST"])
def parallel_match(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Choose the customer of all rows with the customer text of `?line=`, or leave them out."""
    parallel = _month_or_404(public_id)
    line = request.GET.get("line", "")
    row = get_object_or_404(parallel.rows, line=int(line) if line.isascii() and line.isdigit() and len(line) < 8 else 0)
    if request.method == "POST":
        return _matched(request, parallel, row)
    words = searchable(request.GET.get("q", row.customer_text))
    context = {
        "parallel": parallel,
        "row": row,
        "others": parallel.rows.filter(customer_text=row.customer_text).count() - 1,
        "words": words,
        "customers": queries.suggested_customers(words),
    }
    return render(request, "billing/parallel/match.html", context)


def _matched(request: HttpRequest, parallel: ParallelMonth, row: ParallelRow) -> HttpResponse:
    form = MatchForm(request.POST)
    if form.is_valid():
        chosen = form.cleaned_data["customer"]
        customer = get_object_or_404(Customer, public_id=chosen) if chosen else None
        with refusals_told(request):
            commands.match_customer(
                command_of(request, now=database_now()),
                parallel=parallel,
                text=row.customer_text,
                customer=customer,
                seen_edits=form.cleaned_data["edits"],
            )
            messages.success(request, _("Row matched.") if customer else _("Row left out."))
    return go_to(request, "billing:parallel-month", parallel.public_id)


@require_GET
def parallel_export(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    parallel, filters = _month_or_404(public_id), ResultFilters(request.GET)
    if filters.lists_nothing:
        return refused_export(filters)
    told = {"compared_file": parallel.filename, "month": f"{parallel.month:%Y-%m}"}
    name = f"parallel-{parallel.month:%Y-%m}-{parallel.public_id.hex[:8]}.csv"
    content = table(queries.HEADER, queries.result_rows(parallel, filters))
    return recorded_download(request, name, content, verb="parallel.exported", filters=filters, facts=told)


def _month_or_404(public_id: uuid.UUID) -> ParallelMonth:
    return get_object_or_404(ParallelMonth.objects.select_related("by"), public_id=public_id)
