"""Views of the usage report of a month: the page, and the request of its export."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from billing import labels
from billing.models import Status
from billing.reports.export_changes import changed_exports
from billing.reports.export_views import export_report
from billing.reports.filters import CEILING, ONLY, QUOTA, MonthFilters, UsageFilters
from billing.reports.queries import ReportRow, Totals
from billing.reports.queries import build_usage_report as report_of
from billing.usage.periods import month_after
from billing.usage.postponed import waiting_figures
from customers.connections.catalogue import offering_label
from portal.access.permissions import Permission
from portal.htmx import person, render_page
from portal.providers import CAPABILITIES, UsageSource

MONTHS_OFFERED = 14


@require_GET
def usage_report(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    filters = UsageFilters(
        request.GET, today=now.astimezone(UTC).date(), with_cost=person(request).may(Permission.VIEW_COST)
    )
    tab = filters.group or "usage"
    context: dict[str, Any] = {"filters": filters, "months": months_of(request, filters), "tab": tab}
    if not filters.lists_nothing:
        report = report_of(filters, now=now)
        context |= {
            "report": report,
            "lines": [_line(row, report.hours.get(row.pk)) for row in report.rows],
            "page": report.page,
            "sources": labels.sources(report.sources),
            "statuses": _status_links(request, report.coverage, filters),
            "kept": filters.kept(),
            "choices": {
                "connection": [(each.public_id, each.name) for each in filters.connections],
                "customer": [(each.public_id, each) for each in [filters.customer] if each],
                "status": Status.choices,
                "quota": QUOTA.items(),
                "ceiling": CEILING.items(),
                "only": ONLY.items(),
            },
            "changed_exports": changed_exports(filters.month, reader=person(request)),
            "waiting": waiting_figures().count(),
        }
    return render_page(request, "billing/usage.html", context, filters=filters)


def _status_links(request: HttpRequest, coverage: Totals, filters: UsageFilters) -> list[tuple[str, int, str, bool]]:
    """Return each status with its figures of the month, and the link that shows only these, or all again."""
    found = []
    for status, n in coverage.by_status():
        query = request.GET.copy()
        query.pop("page", None)
        query["status"] = status
        if chosen := filters.status == status:
            query.pop("status")
        found.append((status, n, f"?{query.urlencode()}", chosen))
    return found


@require_POST
def usage_export(request: HttpRequest) -> HttpResponseBase:
    return export_report(request)


def _line(row: ReportRow, hours: int | None) -> dict[str, Any]:
    """Return one row for the template, with its labels. `hours`: until the ceiling is reached."""
    capabilities = CAPABILITIES[row.kind]
    return {
        "row": row,
        "packaged": capabilities.offerings,
        "has_figures": row.source != UsageSource.POOLED,  # a pooled report has only the count
        "package": offering_label(row.package) if row.package else "",
        "provider": capabilities.label,
        "hours": hours,
    }


def months_of(request: HttpRequest, filters: MonthFilters) -> dict[str, Any]:
    """Return the links to the previous and next month and the month menu; other query parameters stay."""

    def address(month: date) -> str:
        query = request.GET.copy()
        query["month"] = f"{month:%Y-%m}"
        query.pop("page", None)
        return f"?{query.urlencode()}"

    latest, after = filters.latest_month, month_after(filters.month)
    offered = [month_after(latest, -step) for step in range(MONTHS_OFFERED)]
    return {
        "before": address(month_after(filters.month, -1)),
        "after": address(after) if after <= latest else "",
        "menu": [(each, address(each), each == filters.month and "month" not in filters.refused) for each in offered],
        "query": address(filters.month),
    }
