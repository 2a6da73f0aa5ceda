"""Views of the drift page: differences from the desired state, unlinked accounts, and duplicates to merge."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from customers.connections.client import client_for
from customers.models import Account, RemoteAccount
from customers.observed import duplicates, scan_requests
from customers.operations.view_helpers import account_or_404, add_refusal, refusals_on, say_repeated
from customers.reconcile import drift, link, queries
from customers.reconcile.forms import ACCEPT, PUSH, DriftForm, IgnoreForm, LinkForm, MergeForm
from portal.audit.overtaken import last_decision, overtaken_decision
from portal.clock import database_now
from portal.downloads import recorded_download, table
from portal.encryption import DecryptionError
from portal.exports import refused_export
from portal.htmx import command_of, go_to, new_token, render_page
from portal.refusals import Refusal


@require_GET
def drift_board(request: HttpRequest) -> HttpResponse:
    found = queries.board(request.GET.dict(), today=timezone.now().date())
    context = {"found": found, "page": found["page"]}
    return render_page(request, "customers/drift/board.html", context, filters=found["filters"])


@require_GET
def drift_export(request: HttpRequest) -> HttpResponseBase:
    """Export the board as filtered, every page of it."""
    filters, now = queries.DriftFilters(request.GET), timezone.now()
    if filters.lists_nothing:
        return refused_export(filters)
    content = table(queries.HEADER, queries.drift_export_rows(filters, today=now.date()))
    name = f"drift-{now:%Y-%m-%d}.csv"
    return recorded_download(request, name, content, verb="drift.exported", filters=filters)


@require_GET
def drift_scans(request: HttpRequest) -> HttpResponse:
    """Show when each connection was last scanned; polls automatically while a scan runs."""
    return render(request, "customers/drift/_scans.html", {"scans": queries.latest_scans()})


@require_POST
def drift_scan(request: HttpRequest) -> HttpResponse:
    """Scan every connection that is not paused, now."""
    begun = scan_requests.request_scans(command_of(request, now=database_now()))
    if begun:
        messages.success(request, _("Scanning account lists. This page updates automatically."))
    else:
        messages.warning(request, _("Nothing to scan. Every connection is paused, or there are none."))
    return go_to(request, "customers:drift")


@require_http_methods(["GET", "POST"])
def drift_act(request: HttpRequest, public_id: uuid.UUID, field: str) -> HttpResponse:
    """Reapply the expected value, accept the provider's, or snooze, if the values are still as shown."""
    account, now = account_or_404(public_id), timezone.now()
    found = drift.drift_of(account, field, today=now.date())
    if found is None and request.method == "POST":
        return _overtaken(request, account, seen=request.POST.get("last", ""))
    if found is None:
        messages.info(request, _("The values now match."))
        return go_to(request, "customers:drift")
    form, seen = DriftForm(found, request.POST or None, today=now.date(), initial={"client_token": new_token()}), None
    if request.method == "POST":
        ready = form.is_valid()
        try:
            drift.check_seen(found, request.POST.get("seen", ""))
            if ready:
                _act(request, found, form)
                return go_to(request, "customers:drift")
        except Refusal as refusal:
            add_refusal(form, refusal)
            seen = getattr(refusal, "seen", None)
            if seen:  # a choice is made again with the new values in view; the rest stays
                form.data = data = request.POST.copy()
                data.pop("choice", None)
            found = drift.drift_of(account, field, today=now.date()) or found
    context = {
        "form": form,
        "drift": found,
        "account": found.account,
        "here": request.get_full_path(),
        "seen": seen,
        "sealed": drift.seal_seen(found),
        "last": last_decision(account),
    }
    return render_page(request, "customers/drift/act.html", context, status=422 if request.method == "POST" else 200)


def _overtaken(request: HttpRequest, account: Account, *, seen: str = "") -> HttpResponse:
    """Tell what was decided about the account before this form was sent, and show the reason that was typed for it."""
    overtaken = overtaken_decision(IgnoreForm(request.POST), account, seen=seen)
    context = {"account": account, "overtaken": overtaken}
    return render_page(request, "customers/drift/overtaken.html", context, status=422)


def _act(request: HttpRequest, found: drift.Drift, form: DriftForm) -> None:
    command, said = command_of(request, form, now=database_now()), form.cleaned_data
    if said["choice"] == PUSH:
        operation = drift.push(command, drift=found)
        say_repeated(request, operation, done=_("Requested: %(kind)s.") % {"kind": operation.get_kind_display()})
    elif said["choice"] == ACCEPT:
        drift.accept(command, drift=found)
        messages.success(request, _("Provider value accepted. Nothing was sent."))
    else:
        drift.ignore(command, drift=found, until_on=said["until_on"])
        messages.success(request, _("Snoozed until the date you selected."))


@require_GET
def orphan_list(request: HttpRequest) -> HttpResponse:
    found = queries.orphans(request.GET.dict())
    context = {"found": found, "page": found["page"]}
    return render_page(request, "customers/drift/orphans.html", context, filters=found["filters"])


@require_http_methods(["GET", "POST"])
def orphan_adopt(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Link an unlinked account. The customers it may belong to are listed; a search finds any other."""
    if request.method == "POST" and (linked := _linked(public_id)):
        return _overtaken(request, linked)
    remote_account = _remote_account_or_404(public_id)
    form = LinkForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            account = link.link_account(
                command_of(request, form, now=database_now()),
                remote_account=remote_account,
                customer=form.cleaned_data["customer"],
                provider=client_for(remote_account.connection, interactive=True),
            )
        except (Refusal, DecryptionError) as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(
                request, _("The account is now linked to this customer. Nothing was changed at the provider.")
            )
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
    if request.method == "POST" and (linked := _linked(public_id)):
        return _overtaken(request, linked)
    remote_account = _remote_account_or_404(public_id)
    form = IgnoreForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        link.ignore_account(command_of(request, form), remote_account=remote_account)
        return go_to(request, "customers:orphans")
    context = {"form": form, "remote_account": remote_account}
    return render(request, "customers/drift/aside.html", context, status=422 if request.method == "POST" else 200)


@require_POST
def orphan_watch(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    link.stop_ignoring_account(command_of(request), remote_account=_remote_account_or_404(public_id))
    return go_to(request, "customers:orphans")


def _remote_account_or_404(public_id: uuid.UUID) -> RemoteAccount:
    return get_object_or_404(RemoteAccount.objects.unowned().select_related("connection"), public_id=public_id)


def _linked(public_id: uuid.UUID) -> Account | None:
    """Return the account that an account at the provider was linked to."""
    row = RemoteAccount.objects.select_related("connection").filter(public_id=public_id).first()
    accounts = Account.objects.select_related("customer").filter(duplicate_of=None)
    return accounts.filter(provider_kind=row.connection.kind, provider_id=row.provider_id).first() if row else None


@require_GET
def duplicate_list(request: HttpRequest) -> HttpResponse:
    page = Paginator(duplicates.unmerged(), queries.PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "customers/drift/duplicates.html", {"page": page})


@require_http_methods(["GET", "POST"])
def duplicate_merge(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    merged = Account.objects.select_related("customer").filter(public_id=public_id, merged_at__isnull=False).first()
    if request.method == "POST" and merged:
        return _overtaken(request, merged)
    duplicate = get_object_or_404(duplicates.unmerged(), public_id=public_id)
    form = MergeForm(duplicate, request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            customer = form.cleaned_data["customer"]
            kept = duplicates.merge(command_of(request, form), duplicate=duplicate, customer=customer)
            messages.success(request, _("The duplicate was merged. Nothing was changed at the provider."))
            return go_to(request, "customers:account", kept.public_id)
    context = {"form": form, "duplicate": duplicate, "kept": duplicate.duplicate_of}
    return render(request, "customers/drift/merge.html", context, status=422 if request.method == "POST" else 200)
