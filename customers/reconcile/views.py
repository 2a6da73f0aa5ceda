"""Views of the drift board: differences from the desired state, and unlinked accounts."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.connections.client import client_for
from customers.models import RemoteAccount
from customers.observed import scan_requests
from customers.operations.commands import UnableToAsk
from customers.operations.submissions import earlier_submission
from customers.operations.view_helpers import account_or_404, add_refusal, say_repeated
from customers.reconcile import drift, link, queries
from customers.reconcile.forms import ACCEPT, PUSH, DriftForm, IgnoreForm, LinkForm
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.exports import csv_response
from portal.htmx import go_to, is_fragment, new_token, person


@require_GET
def drift_board(request: HttpRequest) -> HttpResponse:
    found = queries.board(request.GET.dict(), today=timezone.now().date())
    template = "customers/drift/_board.html" if is_fragment(request) else "customers/drift/board.html"
    return render(request, template, {"found": found, "page": found.page})


@require_GET
def drift_export(request: HttpRequest) -> HttpResponseBase:
    """Export the board as filtered, every page of it."""
    now = timezone.now()
    rows = queries.drift_export_rows(request.GET.dict(), today=now.date())
    return csv_response(f"drift-{now:%Y-%m-%d}.csv", queries.HEADER, rows)


@require_GET
def drift_scans(request: HttpRequest) -> HttpResponse:
    """Show when each connection was last scanned; polls by itself while a scan runs."""
    return render(request, "customers/drift/_scans.html", {"scans": queries.latest_scans()})


@require_POST
def drift_scan(request: HttpRequest) -> HttpResponse:
    """Scan every connection that is not paused, now."""
    begun = scan_requests.request_scans(actor=person(request), now=database_now(), request=request)
    if begun:
        messages.success(request, _("The providers' lists are being read. This page follows."))
    else:
        messages.warning(request, _("Nothing to read: every connection is paused, or there is none."))
    return go_to(request, "customers:drift")


@require_http_methods(["GET", "POST"])
def drift_act(request: HttpRequest, public_id: uuid.UUID, field: str) -> HttpResponse:
    """Reapply the expected value, accept the provider's, or snooze, if the values are still as shown."""
    account, now = account_or_404(public_id), timezone.now()
    found = drift.drift_of(account, field, today=now.date())
    if found is None:
        messages.info(request, _("There is no difference any more."))
        return go_to(request, "customers:drift")
    form, seen = DriftForm(found, request.POST or None, today=now.date(), initial={"client_token": new_token()}), None
    if request.method == "POST":
        ready = form.is_valid()
        try:
            drift.check_seen(found, request.POST.get("seen", ""))
            if ready:
                _act(request, found, form.cleaned_data)
                return go_to(request, "customers:drift")
        except UnableToAsk as refusal:
            add_refusal(form, refusal)
            seen = getattr(refusal, "seen", None)
            if seen:  # a choice is made again with the new values in view; the rest stays
                form.data = data = request.POST.copy()
                data.pop("choice", None)
            found = drift.drift_of(account, field, today=now.date()) or found
    context = {
        "form": form, "drift": found, "account": found.account, "here": request.get_full_path(),
        "seen": seen, "sealed": drift.seal_seen(found),
    }  # fmt: skip
    template = "customers/drift/_act.html" if is_fragment(request) else "customers/drift/act.html"
    return render(request, template, context, status=422 if request.method == "POST" else 200)


def _act(request: HttpRequest, found: drift.Drift, said: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "actor": person(request), "drift": found, "reason": said["reason"], "now": database_now(), "request": request,
    }  # fmt: skip
    if said["choice"] == PUSH:
        operation = drift.push(client_token=said["client_token"], **common)
        if earlier_submission(operation):
            say_repeated(request, operation)
        else:
            messages.success(request, _("Asked: %(kind)s.") % {"kind": operation.get_kind_display()})
    elif said["choice"] == ACCEPT:
        drift.accept(**common)
        messages.success(request, _("The provider's value is what we want now. Nothing was sent."))
    else:
        drift.ignore(until_on=said["until_on"], **common)
        messages.success(request, _("Off the board until then."))


@require_GET
def orphan_list(request: HttpRequest) -> HttpResponse:
    found = queries.orphans(request.GET.dict())
    template = "customers/drift/_orphans.html" if is_fragment(request) else "customers/drift/orphans.html"
    return render(request, template, {"found": found, "page": found.page})


@require_http_methods(["GET", "POST"])
def orphan_adopt(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Link an unlinked account. The customers it may belong to are listed; a search finds any other."""
    remote_account = _remote_account_or_404(public_id)
    form = LinkForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            account = link.link_account(
                actor=person(request), remote_account=remote_account, customer=form.cleaned_data["customer"],
                provider=client_for(remote_account.connection, interactive=True), now=database_now(),
                reason=form.cleaned_data["reason"], request=request,
            )  # fmt: skip
        except (UnableToAsk, DecryptionError) as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, _("The account is this customer's now. Nothing was changed at the provider."))
            return go_to(request, "customers:account", account.public_id)
    text = request.GET.get("q", "")
    context = {
        "form": form,
        "remote_account": remote_account,
        "customers": queries.customers_like(remote_account, text=text),
        "q": text,
    }
    return render(request, "customers/drift/adopt.html", context, status=422 if request.method == "POST" else 200)


@require_http_methods(["GET", "POST"])
def orphan_aside(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    remote_account = _remote_account_or_404(public_id)
    form = IgnoreForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        link.ignore_account(
            actor=person(request),
            remote_account=remote_account,
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
            request=request,
        )
        return go_to(request, "customers:orphans")
    context = {"form": form, "remote_account": remote_account}
    return render(request, "customers/drift/aside.html", context, status=422 if request.method == "POST" else 200)


@require_POST
def orphan_watch(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    link.stop_ignoring_account(actor=person(request), remote_account=_remote_account_or_404(public_id), request=request)
    return go_to(request, "customers:orphans")


def _remote_account_or_404(public_id: uuid.UUID) -> RemoteAccount:
    return get_object_or_404(RemoteAccount.objects.unowned().select_related("connection"), public_id=public_id)
