"""Views of an import: a connection's existing accounts, their likely customers, and the run. One page, by stages."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from customers.models import AccountImport, AccountImportItem, Connection, RemoteAccount, Scan
from customers.observed import scan_requests
from customers.operations.commands import UnableToAsk
from customers.reconcile import account_import as account_imports
from portal.clock import database_now
from portal.htmx import go_to, is_fragment, person

PER_PAGE = 100


@require_GET
def account_import_page(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    context = _context(request, _connection(public_id))
    return render(
        request, "customers/estate/_body.html" if is_fragment(request) else "customers/estate/page.html", context
    )


@require_GET
def account_import_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the run's card, or the scan's. It polls by itself; when it has ended the page is loaded again."""
    context = _context(request, _connection(public_id))
    response = render(request, "customers/estate/_progress.html", context)
    moving = context["scanning"] or (
        context["account_import"] and context["account_import"].state == AccountImport.State.RUNNING
    )
    if is_fragment(request) and not moving:
        response["HX-Refresh"] = "true"
    return response


@require_POST
def account_import_scan(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    connection = _connection(public_id)
    scan_requests.request_scan(actor=person(request), connection=connection, now=database_now(), request=request)
    return go_to(request, "customers:estate", connection.public_id)


@require_POST
def account_import_propose(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    connection = _connection(public_id)
    upload = request.FILES.get("listed")
    try:
        listed = account_imports.read_list(upload.read(account_imports.BYTES_MAX + 1)) if upload else []
        account_imports.propose_import(
            actor=person(request), connection=connection, listed=listed, now=timezone.now(), request=request
        )
    except UnableToAsk as refusal:
        context = _context(request, connection) | {"refusal": str(refusal)}
        return render(request, "customers/estate/page.html", context, status=422)
    return go_to(request, "customers:estate", connection.public_id)


@require_POST
def account_import_choose(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Select or clear items: all of a basis by its buttons, or the rows of the page as they are, stored with every
    change."""
    connection = _connection(public_id)
    account_import = _open(connection)
    if account_import and (basis := request.POST.get("every") or request.POST.get("all", "")):
        account_imports.choose_items(account_import=account_import, take="every" in request.POST, basis=basis)
    elif account_import:
        ticked = _keep_ticks(request, account_import)
        if is_fragment(request):
            return render(request, "customers/estate/_start.html", {"connection": connection, "ticked": ticked})
    back = request.POST.get("back", "")
    response = go_to(request, "customers:estate", connection.public_id)
    if back.startswith("?") and "Location" in response:
        response["Location"] += back[:200]
    return response


@require_POST
def account_import_start(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    connection = _connection(public_id)
    if account_import := _open(connection):
        _keep_ticks(request, account_import)
        try:
            account_imports.start_import(
                actor=person(request), account_import=account_import, now=timezone.now(), request=request
            )
        except UnableToAsk as refusal:
            messages.warning(request, str(refusal))
    return go_to(request, "customers:estate", connection.public_id)


@require_POST
def account_import_pause(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    connection = _connection(public_id)
    if account_import := _open(connection):
        account_imports.pause_import(actor=person(request), account_import=account_import, request=request)
        messages.success(request, _("Paused. What was taken over stays so."))
    return go_to(request, "customers:estate", connection.public_id)


def _context(request: HttpRequest, connection: Connection) -> dict[str, Any]:
    account_import = _open(connection) or connection.account_imports.first()
    context: dict[str, Any] = {
        "connection": connection,
        "account_import": account_import,
        "scanning": Scan.objects.filter(connection=connection, state=Scan.State.RUNNING).first(),
        "scan": Scan.objects.filter(connection=connection, state=Scan.State.COMPLETE).first(),
        "last_scan": Scan.objects.filter(connection=connection).exclude(state=Scan.State.RUNNING).first(),
        "orphans": RemoteAccount.objects.filter(connection=connection).orphans().count(),
    }
    if account_import is None:
        return context
    items = account_import.items.select_related("remote_account", "customer")
    basis, show = request.GET.get("basis", ""), request.GET.get("show", "")
    if basis in AccountImportItem.Basis.values:
        items = items.filter(basis=basis)
    if show == "failed":
        items = items.filter(state=AccountImportItem.State.FAILED)
    counts = account_import.items.values("basis").annotate(n=Count("pk"), ticked=Count("pk", filter=Q(take=True)))
    by_basis = {row["basis"]: row for row in counts}
    return context | {
        "page": Paginator(items, PER_PAGE).get_page(request.GET.get("page")),
        "basis": basis,
        "bases": [
            (value, label, by_basis[value]["n"], by_basis[value]["ticked"])
            for value, label in AccountImportItem.Basis.choices
            if value in by_basis
        ],
        "ticked": sum(row["ticked"] for row in by_basis.values()),
    }


def _keep_ticks(request: HttpRequest, account_import: AccountImport) -> int:
    """Store the selection of the page that was shown; return how many are selected in all."""
    shown, ticked = _numbers(request, "shown"), _numbers(request, "ticked")
    account_imports.choose_items(account_import=account_import, take=True, items=ticked)
    return account_imports.choose_items(account_import=account_import, take=False, items=shown - ticked)


def _numbers(request: HttpRequest, name: str) -> set[int]:
    return {int(value) for value in request.POST.getlist(name) if re.fullmatch("[0-9]{1,15}", value)}


def _open(connection: Connection) -> AccountImport | None:
    return connection.account_imports.exclude(state=AccountImport.State.ENDED).first()


def _connection(public_id: uuid.UUID) -> Connection:
    return get_object_or_404(Connection, public_id=public_id)
