"""Invoice breakdown of a connection whose provider reports all its accounts at once, by month."""

from __future__ import annotations

import uuid
from datetime import UTC

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing import labels
from billing.reports.filters import MonthFilters
from billing.reports.pool import pool_of
from billing.reports.views import months_of
from billing.usage.due_runs import next_nightly
from customers.models import Connection
from portal.htmx import render_page


@require_GET
def pool(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    now = timezone.now()
    connection = get_object_or_404(Connection, public_id=public_id)
    filters = MonthFilters(request.GET, today=now.astimezone(UTC).date())
    found = None if filters.lists_nothing else pool_of(connection, filters)
    context = {
        "connection": connection,
        "filters": filters,
        "months": months_of(request, filters),
        "pool": found,
        "page": found.page if found else None,
        "source": labels.source("pooled"),
        "next_at": next_nightly(now),
    }
    return render_page(request, "billing/pool.html", context, filters=filters)
