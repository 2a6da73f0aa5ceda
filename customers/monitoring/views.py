"""The page "System status": the status of workers, queues and checks."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from customers.monitoring.queries import system_status
from portal.htmx import render_page


def system_status_page(request: HttpRequest) -> HttpResponse:
    return render_page(request, "customers/watch/engine.html", {"engine": system_status(now=timezone.now())})
