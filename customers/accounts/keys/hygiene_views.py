"""Views of all API keys: the list with its findings, its export, and the form that rotates or deletes many."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from customers.accounts.keys import hygiene
from customers.accounts.keys.drill import KeyDrillForm
from customers.accounts.keys.hygiene_export import HEADER, key_export_rows
from customers.bulk import commands as bulk_commands
from customers.bulk.plan import OF_KEYS, permissions_of_change
from customers.directory.filter_choices import owner_choices
from customers.models import Connection
from customers.observed.key_lists import KINDS_WITH_KEYS
from customers.operations.view_helpers import refusals_on, say_repeated
from portal.access.permissions import Permission
from portal.access.reauth import reauthenticated
from portal.downloads import recorded_download, table
from portal.exports import refused_export
from portal.htmx import command_of, go_to, person, render_page


@require_GET
def keys_list(request: HttpRequest) -> HttpResponse:
    filters = hygiene.KeyFilters(request.GET, now=timezone.now())
    page = hygiene.keys_list_page(filters, request.GET.get("page"))
    context = {
        "page": page,
        "rows": hygiene.key_rows(filters, page),
        "filters": filters,
        "tabs": hygiene.finding_counts(filters),
        "ages": hygiene.list_ages(),
        "connections": [(key, each.name) for key, each in filters.connections.items()],
        "owners": owner_choices(str(filters.owner or "")),
        "kept": filters.kept(),
        "query": request.GET.urlencode(),
        "default_sort": hygiene.DEFAULT_SORT,
        "most": bulk_commands.MOST,
        "supported": Connection.objects.filter(kind__in=KINDS_WITH_KEYS).exists(),
        "may_drill": all(person(request).may(each) for each in (Permission.CHANGE_IN_BULK, Permission.DELETE_KEY)),
    }
    return render_page(request, "customers/keys/all.html", context, filters=filters)


@require_GET
def keys_export(request: HttpRequest) -> HttpResponseBase:
    """Export the list as filtered, every page of it."""
    filters = hygiene.KeyFilters(request.GET, now=timezone.now())
    if filters.lists_nothing:
        return refused_export(filters)
    name = f"api-keys-{timezone.now():%Y-%m-%d}.csv"
    rows = table(HEADER, key_export_rows(filters))
    return recorded_download(request, name, rows, verb="keys.exported", filters=filters)


@require_http_methods(["GET", "POST"])
@reauthenticated(minutes=10)
def key_drill(request: HttpRequest) -> HttpResponse:
    """Choose keys and what happens to them. The draft that it leads to lists them at the provider first."""
    filters = hygiene.KeyFilters(request.GET, now=timezone.now())
    user = person(request)
    kinds = [kind for kind in OF_KEYS if all(user.may(each) for each in permissions_of_change(kind))]
    form = KeyDrillForm(request.POST or None, filters=filters, kinds=kinds)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form, fields={"": "source"}):
            made = bulk_commands.plan_bulk_change(
                command_of(request, form),
                kind=form.cleaned_data["kind"],
                wanted=form.wanted(),
                account_ids=form.choice.account_ids,
                named_keys=form.choice.named_keys,
            )
            say_repeated(request, made)
            return go_to(request, "customers:bulk", made.public_id)
    count = filters.keys.order_by()[: bulk_commands.MOST + 1].count() if filters.is_narrowed else 0
    context = {
        "form": form,
        "filters": filters,
        "query": request.GET.urlencode(),
        "most": bulk_commands.MOST,
        "count": count,
        "too_many": count > bulk_commands.MOST,
    }
    return render(request, "customers/keys/drill.html", context, status=422 if request.method == "POST" else 200)
