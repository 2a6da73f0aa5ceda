"""Views of usage runs: the list, starting a run, its page and its progress."""

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
from portal.clock import database_now
from portal.htmx import go_to, is_fragment, person


@require_GET
def run_list(request: HttpRequest) -> HttpResponse:
    found = queries.runs_page(request.GET.get("page", "1"), now=timezone.now())
    template = "billing/_runs.html" if is_fragment(request) else "billing/runs.html"
    return render(request, template, {"found": found, "page": found.page, "client_token": uuid.uuid4().hex})


@require_POST
def run_start(request: HttpRequest) -> HttpResponse:
    """Start a sync of one connection or all. Redirect to the run's page, or to the list if there are several."""
    form = StartForm(request.POST)
    if not form.is_valid():
        refusals = [str(words) for words in form.errors.get("connection", [])]
        messages.warning(request, " ".join(refusals) or _("The form was not complete."))
        return go_to(request, "billing:runs")
    try:
        found = runs.request_runs(
            actor=person(request),
            connections=form.cleaned_data["connection"],
            client_token=form.cleaned_data["client_token"],
            now=database_now(),
            request=request,
        )
    except runs.UnableToSync as refusal:
        messages.warning(request, str(refusal))
        return go_to(request, "billing:runs")
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
    try:
        runs.retry_run(actor=person(request), run=run, now=database_now(), request=request)
    except runs.UnableToSync as refusal:
        messages.warning(request, str(refusal))
    return go_to(request, "billing:run", run.public_id)


def _facts(public_id: uuid.UUID) -> dict[str, Any]:
    facts = queries.run_facts(_run_or_404(public_id))
    return {"facts": facts, "source": labels.source(facts.run.source)}


def _run_or_404(public_id: uuid.UUID) -> SyncRun:
    return get_object_or_404(SyncRun.objects.select_related("connection", "asked_by"), public_id=public_id)
