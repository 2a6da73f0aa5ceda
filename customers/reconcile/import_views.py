"""Views of an import: a connection's existing accounts, their likely customers, and the run. One page, by stages."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from customers.models import AccountImport, AccountImportItem, Connection, RemoteAccount, Scan
from customers.observed import scan_requests
from customers.operations.view_helpers import refusals_told
from customers.reconcile import account_import as account_imports
from customers.reconcile import import_list
from portal.audit.overtaken import overtaken_decision
from portal.clock import database_now
from portal.filters import Filter, ListFilters, one_of
from portal.htmx import command_of, go_to, is_fragment, render_page
from portal.refusals import Refusal

PER_PAGE = 100
_WHY_UNMATCHED = {
    "linked": gettext_lazy("Already linked to %(customer)s"),
    "ignored": gettext_lazy("Ignored under Unlinked accounts"),
    "missing": gettext_lazy("No longer in the provider's account list"),
    "unknown": gettext_lazy("Not in the provider's account list"),
}


class ImportFilters(ListFilters):
    basis = Filter(gettext_lazy("Match"), one_of(AccountImportItem.Basis.values), lookup="basis")
    show = Filter(gettext_lazy("State"), one_of((AccountImportItem.State.FAILED,)), lookup="state")


@require_GET
def account_import_page(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    context = _context(request, _connection(public_id))
    return render_page(
        request,
        "customers/estate/page.html",
        context,
        part="customers/estate/_body.html",
        filters=context.get("filters"),
    )


@require_GET
def account_import_progress(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show the run's card, or the scan's. It polls automatically; when it has ended the page is loaded again."""
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
    scan_requests.request_scan(command_of(request, now=database_now()), connection=connection)
    return go_to(request, "customers:estate", connection.public_id)


@require_POST
def account_import_propose(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    connection = _connection(public_id)
    upload = request.FILES.get("listed")
    try:
        if upload:
            import_list.check_name(upload.name or "")
        content = upload.read(import_list.BYTES_MAX + 1) if upload else b""
        listed = import_list.read_list(content) if upload else []
        account_imports.propose_import(command_of(request), connection=connection, listed=listed)
    except Refusal as refusal:
        context = _context(request, connection) | {"refusal": str(refusal)}
        return render(request, "customers/estate/page.html", context, status=422)
    if not import_list.is_unicode(content):
        messages.warning(
            request,
            _(
                "The list isn't UTF-8, so it was read as Windows-1252, as Excel writes it. Check the names with "
                "accents. If they are wrong, save the list as CSV UTF-8 and upload it again."
            ),
        )
    return go_to(request, "customers:estate", connection.public_id)


@require_POST
def account_import_choose(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Select or clear items: all of a basis by its buttons, or the rows of the page as they are, stored with every
    change."""
    connection = _connection(public_id)
    account_import = _open(connection)
    if _is_overtaken(request, connection, account_import):
        return go_to(request, "customers:estate", connection.public_id)
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
    account_import = _open(connection)
    if account_import and not _is_overtaken(request, connection, account_import):
        _keep_ticks(request, account_import)
        with refusals_told(request):
            account_imports.start_import(command_of(request), account_import=account_import)
    return go_to(request, "customers:estate", connection.public_id)


@require_POST
def account_import_pause(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    connection = _connection(public_id)
    if account_import := _open(connection):
        account_imports.pause_import(command_of(request), account_import=account_import)
        messages.success(request, _("Import paused. Accounts imported so far stay linked."))
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
    filters = ImportFilters(request.GET)
    items = filters.narrow(account_import.items.select_related("remote_account", "customer"))
    counts = account_import.items.values("basis").annotate(n=Count("pk"), ticked=Count("pk", filter=Q(take=True)))
    by_basis = {row["basis"]: row for row in counts}
    return context | {
        "unmatched": account_import.unmatched.get("count", 0),
        "unmatched_rows": [
            (line, provider_id, _WHY_UNMATCHED[code] % {"customer": customer})
            for line, provider_id, code, customer in account_import.unmatched.get("first", ())
        ],
        "page": Paginator(items, PER_PAGE).get_page(request.GET.get("page")),
        "basis": filters.basis,
        "filters": filters,
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


def _is_overtaken(request: HttpRequest, connection: Connection, account_import: AccountImport | None) -> bool:
    """Return whether a selection is of an import that somebody else started, or replaced, since; and say so."""
    shown = _numbers(request, "shown")
    if not shown:
        return False
    selectable = account_import is not None and account_import.state == AccountImport.State.PROPOSED
    if account_import and selectable and account_import.items.filter(pk__in=shown).exists():
        return False
    row = account_import or connection.account_imports.first() or connection
    first = overtaken_decision(Form(), row, seen="").first
    if first:
        facts = {"name": first.who, "what": first.title}
        messages.warning(request, _("%(name)s was first: %(what)s. Your selection wasn't saved.") % facts)
    return True


def _numbers(request: HttpRequest, name: str) -> set[int]:
    return {int(value) for value in request.POST.getlist(name) if re.fullmatch("[0-9]{1,15}", value)}


def _open(connection: Connection) -> AccountImport | None:
    return connection.account_imports.exclude(state=AccountImport.State.ENDED).first()


def _connection(public_id: uuid.UUID) -> Connection:
    return get_object_or_404(Connection, public_id=public_id)
