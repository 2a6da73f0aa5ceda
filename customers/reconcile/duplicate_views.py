"""Views of duplicate accounts: the list of those that wait to be merged, and the merge."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from customers.observed import duplicates
from customers.observed.duplicates import UnableToMerge
from customers.reconcile.duplicate_forms import MergeForm
from portal.htmx import go_to, person

PER_PAGE = 50


@require_GET
def duplicate_list(request: HttpRequest) -> HttpResponse:
    page = Paginator(duplicates.unmerged(), PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "customers/drift/duplicates.html", {"page": page})


@require_http_methods(["GET", "POST"])
def duplicate_merge(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    duplicate = get_object_or_404(duplicates.unmerged(), public_id=public_id)
    form = MergeForm(duplicate, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            kept = duplicates.merge(
                actor=person(request), duplicate=duplicate, customer=form.cleaned_data["customer"],
                reason=form.cleaned_data["reason"], now=timezone.now(), request=request,
            )  # fmt: skip
        except UnableToMerge as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, _("The duplicate was merged. Nothing was changed at the provider."))
            return go_to(request, "customers:account", kept.public_id)
    context = {"form": form, "duplicate": duplicate, "kept": duplicate.duplicate_of}
    return render(request, "customers/drift/merge.html", context, status=422 if request.method == "POST" else 200)
