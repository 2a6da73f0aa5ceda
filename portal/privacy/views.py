"""Views of requests about a person's data: the list, a search, what was found, the file, and the erasure."""

from __future__ import annotations

import base64
import uuid

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.reauth import reauthenticated
from portal.clock import database_now
from portal.downloads import recorded_download, stored_file
from portal.encryption import DecryptionError
from portal.htmx import command_of, go_to, person
from portal.privacy import commands, queries
from portal.privacy.forms import EraseForm, SearchForm
from portal.privacy.models import SubjectRequest
from portal.refusals import Refusal


@require_GET
def request_list(request: HttpRequest) -> HttpResponse:
    return render(request, "privacy/list.html", {"rows": queries.recent_requests()})


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def person_search(request: HttpRequest) -> HttpResponse:
    """Start the search for a person. The email is in the body, so that no address or log has it."""
    form = SearchForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            command = command_of(request, now=database_now())
            found = commands.search_person(command, kind=typed["kind"], email=typed["email"], others=typed["others"])
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            return go_to(request, found.get_absolute_url())
    return render(request, "privacy/search.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
def request_detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    return _page(request, "privacy/detail.html", _request_or_404(public_id))


@require_GET
def request_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the fragment that polls until the search, export or erasure ended."""
    return _page(request, "privacy/_request.html", _request_or_404(public_id))


@require_POST
@reauthenticated(minutes=10)
def export_data(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    found = _request_or_404(public_id)
    try:
        commands.start_export(command_of(request, now=database_now()), request=found)
    except Refusal as refusal:
        messages.error(request, str(refusal))
    return go_to(request, found.get_absolute_url())


@require_GET
@reauthenticated(minutes=10)
def request_file(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """Send the file of an export to the team member who requested it; each download is audited."""
    found = _request_or_404(public_id)
    if not queries.may_download(person(request), found):
        raise Http404
    content = base64.b64decode(commands.file_of_export(command_of(request), request=found))
    return recorded_download(
        request,
        found.filename,
        stored_file([content], size=len(content)),
        verb="personal_data.export_downloaded",
        obj=found,
    )


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def request_erase(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show what an erasure does and what blocks it, and start it."""
    found = _request_or_404(public_id)
    form = EraseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            command = command_of(request, form, now=database_now())
            commands.start_erasure(command, request=found, typed=form.cleaned_data["confirm"])
        except (Refusal, DecryptionError) as refusal:
            form.add_error(getattr(refusal, "field", "") or None, str(refusal))
        else:
            messages.success(request, _("Erasure started. It continues if you leave this page."))
            return go_to(request, found.get_absolute_url())
    try:
        blocked = commands.why_not_erasable(command_of(request), found) if found.is_open else []
    except DecryptionError as error:
        blocked = [str(error)]
    return _page(request, "privacy/erase.html", found, form=form, blocked=blocked, status=422 if form.errors else 200)


def _request_or_404(public_id: uuid.UUID) -> SubjectRequest:
    return get_object_or_404(SubjectRequest.objects.select_related("requested_by", "user"), public_id=public_id)


def _page(
    request: HttpRequest,
    template: str,
    found: SubjectRequest,
    *,
    form: EraseForm | None = None,
    blocked: list[str] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "request_row": found,
        "page": queries.subject_page(found),
        "may_download": queries.may_download(person(request), found),
        "form": form,
        "blocked": blocked or [],
    }
    return render(request, template, context, status=status)
