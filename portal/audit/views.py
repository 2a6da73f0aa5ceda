from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from portal.audit import export, queries
from portal.audit.verbs import verb_choices
from portal.downloads import ready_lines, recorded_download
from portal.exports import refused_export
from portal.htmx import render_page


def audit_list(request: HttpRequest) -> HttpResponse:
    filters = queries.AuditFilters(request.GET)
    page = queries.events_page(filters, request.GET.get("page"))
    context = {
        "page": page,
        "entries": [queries.entry_of(event) for event in page],
        "filters": filters,
        "people": queries.people_choices(),
        "verbs": verb_choices(),
        "query": request.GET.urlencode(),
    }
    return render_page(request, "audit/list.html", context, part="audit/_rows.html", filters=filters)


def audit_export(request: HttpRequest) -> HttpResponseBase:
    filters = queries.AuditFilters(request.GET)
    if filters.lists_nothing:
        return refused_export(filters)
    name = f"audit-{timezone.now():%Y-%m-%d}.csv"
    content = ready_lines(export.HEADER, export.audit_export_lines(filters))
    return recorded_download(request, name, content, verb="audit.exported", filters=filters)
