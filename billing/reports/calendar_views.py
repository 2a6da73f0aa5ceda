"""Page of requests by calendar month."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing.reports.calendar_month import calendar_page, has_statistics
from billing.reports.filters import SearchFilters
from billing.reports.views import months_of
from portal.htmx import render_page


@require_GET
def calendar_month(request: HttpRequest) -> HttpResponse:
    filters = SearchFilters(request.GET, today=timezone.now().astimezone(UTC).date())
    context: dict[str, Any] = {"filters": filters, "months": months_of(request, filters), "tab": "calendar"}
    if not filters.lists_nothing:
        has_any = has_statistics(filters)
        context |= {
            "has_statistics": has_any,
            "page": calendar_page(filters) if has_any else None,
            "kept": filters.kept(),
            "connections": [(each.public_id, each.name) for each in filters.connections],
        }
    return render_page(request, "billing/calendar.html", context, filters=filters)
