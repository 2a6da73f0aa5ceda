"""Views of usage exports: requesting one, the list, and one with its file."""

from __future__ import annotations

import uuid
from datetime import UTC
from typing import Any

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from billing.models import UsageExport
from billing.reports import exports
from billing.reports.export_changes import changed_exports, visible_exports
from billing.reports.filters import UsageFilters
from billing.usage.periods import month_or_none
from portal.access.models import User
from portal.access.permissions import Permission
from portal.clock import database_now
from portal.downloads import recorded_download, stored_file
from portal.exports import refused_export
from portal.filters import Filter, ListFilters, one_of, page_filter
from portal.htmx import command_of, go_to, person, render_page

EXPORTS_A_PAGE = 50


class ExportFilters(ListFilters):
    """Filters of the list of exports."""

    month = Filter(_("Month"), month_or_none, lookup="month")
    person = Filter(_("Exported by"), one_of(()), initial=None, lookup="by")
    page = page_filter()

    def __init__(self, request: HttpRequest) -> None:
        visible = visible_exports(person(request))
        months = visible.order_by("-month").values_list("month", flat=True).distinct()
        asked = month_or_none(request.GET.get("month", ""))
        known = sorted({*months, *([asked] if asked else [])}, reverse=True)
        self.months = [(f"{month:%Y-%m}", date_format(month, "F Y")) for month in known]
        people = User.objects.filter(usage_exports__in=visible).distinct().order_by("name", "pk")
        self.people = [(str(each.pk), each.name) for each in people]
        by_person = {str(each.pk): each for each in people}
        super().__init__(request.GET, person=by_person.get)


def export_report(request: HttpRequest) -> HttpResponseBase:
    """Request the file of the report with the filters of the address; go to the page of the export."""
    with_cost = person(request).may(Permission.VIEW_COST)
    # The clock of the page, so that both have the same months.
    filters = UsageFilters(request.GET, today=timezone.now().astimezone(UTC).date(), with_cost=with_cost)
    if filters.lists_nothing:
        return refused_export(filters)
    file_format = request.POST.get("format", "")
    if file_format not in UsageExport.Format.values:
        return HttpResponseBadRequest(gettext("Select CSV or Excel (XLSX)."), content_type="text/plain; charset=utf-8")
    export = exports.request_export(command_of(request, now=database_now()), filters=filters, file_format=file_format)
    return go_to(request, "billing:usage-export-detail", export.public_id)


@require_GET
def usage_exports(request: HttpRequest) -> HttpResponse:
    filters = ExportFilters(request)
    found = filters.narrow(visible_exports(person(request)).select_related("by").defer("file", "periods"))
    page = filters.page_of(Paginator(found, EXPORTS_A_PAGE))
    context = {
        "page": page,
        "rows": [_shown(export) for export in page],
        "filters": filters,
        "month_query": f"?month={filters.month:%Y-%m}" if filters.month else "",
        "changed_exports": changed_exports(filters.month, reader=person(request)) if filters.month else [],
    }
    return render_page(request, "billing/exports.html", context, filters=filters)


@require_GET
def usage_export_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return render(request, "billing/export.html", _detail(request, public_id))


@require_GET
def usage_export_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the fragment that polls until the file is written."""
    return render(request, "billing/_export.html", _detail(request, public_id))


@require_GET
def usage_export_file(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """Send the file as it was written; each download is audited."""
    export = get_object_or_404(visible_exports(person(request)).defer("periods"), public_id=public_id)
    if not export.is_ready:
        raise Http404
    if not export.has_file:
        sentence = gettext("The file was removed after its retention period. Export the month again.")
        return HttpResponse(sentence, status=410, content_type="text/plain; charset=utf-8")
    if not exports.is_intact(export):
        sentence = gettext("The stored file is damaged: its hash differs. Restore it from a backup, or export again.")
        return HttpResponse(sentence, status=500, content_type="text/plain; charset=utf-8")
    facts = {"month": f"{export.month:%Y-%m}", "sha256": export.sha256}
    content = stored_file(exports.file_pieces(export), size=export.size or 0)
    customer = exports.filters_of(export).customer
    return recorded_download(
        request,
        export.filename,
        content,
        verb="usage.export_downloaded",
        obj=export,
        customer=customer,
        facts=facts | {"filters": exports.filter_labels(export)},
    )


def _detail(request: HttpRequest, public_id: uuid.UUID) -> dict[str, Any]:
    found = visible_exports(person(request)).select_related("by").defer("file", "periods")
    export = get_object_or_404(found, public_id=public_id)
    return _shown(export)


def _shown(export: UsageExport) -> dict[str, Any]:
    return {
        "export": export,
        "filters_shown": exports.filter_labels(export),
        "may_download": export.has_file,
    }
