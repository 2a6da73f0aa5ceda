"""Home page: work that needs attention. It imports both apps."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing.usage.queries import with_last_run
from customers.bulk.queries import own_sets, waiting_sets
from customers.pages.home import home_page, running_now
from customers.schedules.queries import skipped_of
from portal.htmx import person


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    if getattr(request, "htmx", False) and request.GET.get("part") == "running":
        return render(request, "_home_running.html", {"running": running_now()})
    found = home_page()
    skipped = skipped_of(person(request), now=timezone.now())
    context = {
        "home": found,
        "running": found.running,
        "runs": with_last_run(found.connections),
        "skipped": skipped,
        "approve": waiting_sets(person(request)),
        "mine": own_sets(person(request), now=timezone.now()),
    }
    return render(request, "home.html", context)
