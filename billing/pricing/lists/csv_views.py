"""Views of a price list's CSV file: the export of a version, and the import into the draft."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from billing.models import PriceList, PriceVersion, Side
from billing.pricing.lists import drafts, queries
from billing.pricing.lists.csv_import import DryRun, dry_run, price_file
from billing.pricing.lists.csv_rows import COLUMNS
from billing.pricing.lists.effects import PriceEffect, price_effect
from billing.pricing.lists.forms import ImportForm
from billing.pricing.lists.offerings import offerings_of, unknown_offerings
from billing.pricing.lists.prices import Price
from billing.pricing.lists.versions import in_force_on
from billing.pricing.lists.wording import price_changes
from customers.operations.view_helpers import refusals_on
from portal.downloads import recorded_download, table
from portal.htmx import command_of, go_to, is_fragment, person


@require_GET
def price_export(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    version = queries.version_or_404(person(request), public_id)
    header, rows = price_file(version.prices)
    name = slugify(version.price_list.name) or "price-list"
    verb = "cost_list.exported" if version.price_list.side == Side.COST else "price_list.exported"
    filename, listed = f"{name}-version-{version.n}.csv", version.price_list
    return recorded_download(request, filename, table(header, rows), verb=verb, obj=listed)


@dataclass
class _Import:
    """The facts of the page: the draft that a file would replace, the version it is compared with, and the dry run."""

    price_list: PriceList
    draft: PriceVersion | None
    base: PriceVersion | None
    form: ImportForm
    found: DryRun | None = None
    effect: PriceEffect | None = None

    @property
    def edits(self) -> int:
        return self.draft.edits if self.draft else 0

    @property
    def stored(self) -> list[Price]:
        return self.base.prices if self.base else []

    def read(self) -> DryRun:
        kind = self.price_list.provider_kind
        offerings = [name for name, _label in offerings_of(kind)]
        return dry_run(self.form.cleaned_data["file_text"], stored=self.stored, provider_kind=kind, offerings=offerings)


@require_http_methods(["GET", "POST"])
def price_import(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show what a file would change, then import it into the draft. A fragment holds what it would have moved."""
    price_list = queries.price_list_or_404(person(request), public_id)
    page = _Import(
        price_list=price_list,
        draft=price_list.versions.filter(published_at=None).first(),
        base=in_force_on(price_list, timezone.now().date()),
        form=ImportForm(request.POST or None, request.FILES or None),
    )
    if request.method == "POST" and page.form.is_valid():
        page.found = page.read()
        act = request.POST.get("act")
        if act == "effects" and page.found.prices and price_list.side == Side.SELL:
            page.effect = price_effect(page.found.prices, price_list, now=timezone.now())
        if act == "effects" and is_fragment(request):
            return render(request, "billing/pricing/_effects.html", {"effect": page.effect})
        if act == "import" and not page.found.errors:
            with refusals_on(page.form):
                return _import(request, page)
    return _page(request, page)


def _import(request: HttpRequest, page: _Import) -> HttpResponse:
    command, found = command_of(request), page.found
    draft = drafts.start_draft(command, price_list=page.price_list)
    edits = page.form.cleaned_data["edits"] or 0
    drafts.replace_prices(command, version=draft, prices=found.prices if found else [], seen_edits=edits)
    messages.success(request, _("Prices imported into the draft. Publish it to put them into force."))
    return go_to(request, "billing:price-version", draft.public_id)


def _page(request: HttpRequest, page: _Import) -> HttpResponse:
    found, price_list = page.found, page.price_list
    prices = found.prices if found else []
    context = {
        "form": page.form,
        "price_list": price_list,
        "found": found,
        "text": page.form.cleaned_data["file_text"] if found else "",
        "draft": page.draft,
        "edits": page.edits,
        "base": page.base,
        "replaces_draft": page.edits > 0,
        "changes": price_changes(page.stored, prices, price_list.currency) if found else [],
        "unknown": unknown_offerings(price_list.provider_kind, {price["offering"] for price in prices}),
        "with_effects": price_list.side == Side.SELL,
        "effect": page.effect,
        "columns": COLUMNS,
    }
    wrong = bool(page.form.errors or (found and found.errors))
    return render(request, "billing/pricing/import.html", context, status=422 if wrong else 200)
