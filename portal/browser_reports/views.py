from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from portal.browser_reports import commands, queries
from portal.browser_reports.parsing import CONTENT_TYPES, MOST_BYTES, BadReport, violations_of


@csrf_exempt  # a browser sends reports by itself, without a token; they only raise counters
@require_POST
def collect(request: HttpRequest) -> HttpResponse:
    """Count what a browser reports. Nothing of the session is read, and the answer says nothing."""
    if request.content_type not in CONTENT_TYPES:
        return HttpResponse(status=415)
    length = request.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 8 and int(length) <= MOST_BYTES):
        return HttpResponse(status=413)
    try:
        found = violations_of(request.body, host=request.get_host(), user_agent=request.headers.get("User-Agent", ""))
    except BadReport:
        return HttpResponse(status=400)
    commands.count_violations(found, now=timezone.now())
    return HttpResponse(status=204)


@require_GET
def report_list(request: HttpRequest) -> HttpResponse:
    return render(request, "browser_reports/list.html", {"groups": queries.report_groups()})
