"""Home page: work that needs attention. It imports both apps."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing.usage.queries import with_last_run
from customers.bulk import queries as bulk_queries
from customers.pages.home import home_page, running_now
from customers.schedules.queries import skipped_of
from portal.approvals.queries import also_waiting, own_requests, recommends_rules, waiting_rows
from portal.htmx import person

also_waiting(bulk_queries.waiting_sets)


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    if getattr(request, "htmx", False) and request.GET.get("part") == "running":
        return render(request, "_home_running.html", {"running": running_now()})
    found, me, now = home_page(), person(request), timezone.now()
    waiting = waiting_rows(me, now=now)
    context = {
        "home": found,
        "running": found.running,
        "runs": with_last_run(found.connections),
        "skipped": skipped_of(me, now=now),
        "approve": [each for each in waiting if each.may_decide],
        "mine": bulk_queries.own_sets(me, now=now),
        "requested": own_requests(me, now=now),
        "recommend_rules": recommends_rules(me, now=now),
    }
    return render(request, "home.html", context)
