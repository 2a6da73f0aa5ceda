from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_GET

from portal.audit import export, queries
from portal.audit.access import OF_LISTS, AccessFilters, accesses
from portal.audit.models import AuditEvent
from portal.audit.verbs import ACCESS, verb_choices
from portal.downloads import ready_lines, recorded_download
from portal.exports import refused_export
from portal.htmx import is_fragment, render_page


@require_GET
def audit_list(request: HttpRequest) -> HttpResponse:
    filters = queries.AuditFilters(request.GET)
    context = _context(request, filters, queries.events(filters)) | {
        "actors": queries.ACTORS.items(),
        "people": [(queries.PORTAL, queries.ACTORS[queries.PORTAL]), *queries.people_choices()],
        "verbs": verb_choices(),
    }
    return render_page(request, "audit/list.html", context, part="audit/_rows.html", filters=filters)


@require_GET
def audit_export(request: HttpRequest) -> HttpResponseBase:
    filters = queries.AuditFilters(request.GET)
    if filters.lists_nothing:
        return refused_export(filters)
    content = ready_lines(export.HEADER, export.audit_export_lines(queries.events(filters)))
    name = f"audit-{timezone.now():%Y-%m-%d}.csv"
    return recorded_download(request, name, content, verb="audit.exported", filters=filters)


@require_GET
def audit_access(request: HttpRequest) -> HttpResponse:
    """Show who had access to a customer's accounts, to one account, or to any."""
    filters = AccessFilters(request.GET)
    context = _context(request, filters, accesses(filters)) | {
        "kinds": ACCESS.items(),
        "people": queries.people_choices(),
        "of_lists": OF_LISTS.items(),
    }
    return render_page(request, "audit/access.html", context, part="audit/_access_rows.html", filters=filters)


@require_GET
def audit_access_export(request: HttpRequest) -> HttpResponseBase:
    filters = AccessFilters(request.GET)
    if filters.lists_nothing:
        return refused_export(filters)
    content = ready_lines(export.HEADER, export.audit_export_lines(accesses(filters)))
    name = f"account-access-{timezone.now():%Y-%m-%d}.csv"
    return recorded_download(request, name, content, verb="audit.access_exported", filters=filters)


def _context(request: HttpRequest, filters: queries.DayFilters, found: QuerySet[AuditEvent]) -> dict[str, Any]:
    page = queries.events_page(found, request.GET.get("page"))
    return {
        "page": page,
        "entries": [queries.entry_of(event) for event in page],
        "filters": filters,
        "periods": queries.PERIODS.items(),
        "today": timezone.localdate(),
        "yesterday": timezone.localdate() - timedelta(days=1),
        "zone": timezone.get_current_timezone_name(),
        "is_part": is_fragment(request),
    }
