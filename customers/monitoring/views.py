"""The page "Engine": the status of workers, queues and checks."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from customers.monitoring.queries import system_status
from portal.htmx import is_fragment


def system_status_page(request: HttpRequest) -> HttpResponse:
    template = "customers/watch/_engine.html" if is_fragment(request) else "customers/watch/engine.html"
    return render(request, template, {"engine": system_status(now=timezone.now())})
