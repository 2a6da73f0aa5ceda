from __future__ import annotations

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone

from portal.audit import queries
from portal.audit.verbs import verb_choices
from portal.exports import csv_response
from portal.htmx import is_fragment


def audit_list(request: HttpRequest) -> HttpResponse:
    filters = queries.AuditFilters.read(request.GET)
    page = queries.events_page(filters, request.GET.get("page"))
    context = {
        "page": page,
        "entries": [queries.entry_of(event) for event in page],
        "filters": filters,
        "people": queries.people_choices(),
        "verbs": verb_choices(),
        "query": request.GET.urlencode(),
    }
    return render(request, "audit/_rows.html" if is_fragment(request) else "audit/list.html", context)


def audit_export(request: HttpRequest) -> StreamingHttpResponse:
    filters = queries.AuditFilters.read(request.GET)
    name = f"audit-{timezone.now():%Y-%m-%d}.csv"
    return csv_response(name, queries.EXPORT_HEADER, queries.audit_export_rows(filters))
