"""Views of usage syncs: the list, starting a run, its page and its progress."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from billing import labels
from billing.forms import StartForm
from billing.models import SyncRun
from billing.usage import queries, runs
from billing.usage.due_runs import next_nightly
from customers.models import Connection
from customers.operations.view_helpers import refusals_told
from portal.clock import database_now
from portal.htmx import command_of, go_to, new_token, render_page


@require_GET
def run_list(request: HttpRequest) -> HttpResponse:
    filters = queries.RunFilters(request.GET)
    context = {
        "filters": filters,
        "page": queries.run_page(filters),
        "connections": queries.with_last_run(Connection.objects.all()),
        "next_at": next_nightly(timezone.now()),
        "client_token": new_token(),
    }
    return render_page(request, "billing/runs.html", context, filters=filters)


@require_POST
def run_start(request: HttpRequest) -> HttpResponse:
    """Start a sync of one connection or all. Redirect to the run's page, or to the list if there are several."""
    form = StartForm(request.POST)
    if not form.is_valid():
        refusals = [str(words) for words in form.errors.get("connection", [])]
        messages.warning(request, " ".join(refusals) or _("The form was incomplete."))
        return go_to(request, "billing:runs")
    with refusals_told(request):
        found = runs.request_runs(
            command_of(request, form, now=database_now()),
            connections=form.cleaned_data["connection"],
        )
        for run, new in found:
            if not new:
                messages.info(request, runs.told_of_running(run))
        if len(found) == 1:
            return go_to(request, "billing:run", found[0][0].public_id)
    return go_to(request, "billing:runs")


@require_GET
def run_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return render(request, "billing/run.html", _facts(public_id))


@require_GET
def run_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the fragment that polls until the run has ended."""
    return render(request, "billing/_run_progress.html", _facts(public_id))


@require_POST
def run_retry(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Retry the accounts that failed."""
    run = _run_or_404(public_id)
    with refusals_told(request):
        runs.retry_run(command_of(request, now=database_now()), run=run)
    return go_to(request, "billing:run", run.public_id)


def _facts(public_id: uuid.UUID) -> dict[str, Any]:
    facts = queries.run_facts(_run_or_404(public_id))
    return {"facts": facts, "source": labels.source(facts.run.source)}


def _run_or_404(public_id: uuid.UUID) -> SyncRun:
    return get_object_or_404(SyncRun.objects.select_related("connection", "asked_by"), public_id=public_id)
