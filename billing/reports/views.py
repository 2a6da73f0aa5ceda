"""Views of the usage report of a month: the page and the CSV export."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from billing import labels
from billing.reports.filters import ONLY, QUOTA_LEVELS, MonthFilters, UsageFilters
from billing.reports.pool import pool_heads
from billing.reports.queries import ReportRow, report_lines
from billing.reports.queries import build_usage_report as report_of
from billing.usage.periods import month_after
from customers.connections.catalogue import offering_label
from portal.access.permissions import Permission
from portal.exports import csv_response, refused_export
from portal.formats import percent_text
from portal.htmx import person, render_page
from portal.providers import CAPABILITIES, UsageSource
from portal.state_labels import account_state_choices, account_state_text

MONTHS_OFFERED = 14


@require_GET
def usage_report(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    filters = UsageFilters(
        request.GET, today=now.astimezone(UTC).date(), with_cost=person(request).may(Permission.VIEW_COST)
    )
    context: dict[str, Any] = {"filters": filters, "months": months_of(request, filters)}
    if not filters.lists_nothing:
        report = report_of(filters, now=now)
        context |= {
            "report": report,
            "rows": [_line(row, now) for row in report.rows],
            "page": report.page,
            "sources": labels.sources(report.sources),
            "connections": [(each.public_id, each.name) for each in filters.connections],
            "states": account_state_choices(stored=True),
            "quotas": [(level, _("Over %(percent)s") % {"percent": percent_text(level)}) for level in QUOTA_LEVELS],
            "only": ONLY.items(),
            "kept": filters.kept(),
        }
    return render_page(request, "billing/usage.html", context, filters=filters)


@require_GET
def usage_export(request: HttpRequest) -> HttpResponseBase:
    """Export every row of the filtered report. Credits are emails; dates are ISO, times UTC."""
    now = timezone.now()
    filters = UsageFilters(
        request.GET, today=now.astimezone(UTC).date(), with_cost=person(request).may(Permission.VIEW_COST)
    )
    if filters.lists_nothing:
        return refused_export(filters)
    header = [str(column) for column in labels.EXPORT_HEADER]
    rows = _exported(filters, now)
    if filters.with_cost:
        header += [str(column) for column in labels.EXPORT_COST_HEADER]
        rows = _with_cost(filters, now)
    return csv_response(f"usage-{filters.month:%Y-%m}.csv", header, (line for _, line in rows))


def _with_cost(filters: UsageFilters, now: Any) -> Iterator[tuple[ReportRow, list[Any]]]:
    """Add cost shares to the rows, with the provider's note once per connection."""
    notes = {head.connection.name: head.snapshot.note for head in pool_heads(filters.month, filters.connection)}
    for row, line in _exported(filters, now):
        priced = row.share is not None
        yield row, [*line, row.share, row.currency if priced else None, notes.pop(row.connection, "") if priced else ""]


def _exported(filters: UsageFilters, now: Any) -> Iterator[tuple[ReportRow, list[Any]]]:
    month = f"{filters.month:%Y-%m}"
    for row in report_lines(filters, now=now):
        provider = CAPABILITIES[row.kind].label
        yield (
            row,
            [
                month,
                row.company,
                row.reference,
                row.provider_id,
                row.connection,
                account_state_text(row.state, provider),
                row.package,
                row.requests,
                row.allowed,
                row.used,
                row.remaining,
                row.overage,
                row.reputation,
                row.start_on,
                row.end_on,
                row.process_on,
                labels.EXPORT_REACH[row.reach(now)],
                row.source,
                row.read_at,
                row.unread_seconds if row.reach(now) in ("whole", "partial") else None,
                row.inferred,
                row.held,
            ],
        )


def _line(row: ReportRow, now: Any) -> dict[str, Any]:
    """Return one row for the template, with its labels."""
    reach = row.reach(now)
    capabilities = CAPABILITIES[row.kind]
    return {
        "row": row,
        "packaged": capabilities.offerings,
        "has_figures": row.source != UsageSource.POOLED,  # a pooled report has only the count
        "reach": reach,
        "reach_words": labels.reach_words(reach, row.unread),
        "package": offering_label(row.package) if row.package else "",
        "provider": capabilities.label,
        "source": labels.short_source(row.source),
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
