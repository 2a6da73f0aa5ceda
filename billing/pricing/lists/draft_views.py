"""Views of one version: its prices, and while it is a draft its editor and its publishing."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.models import PriceList, PriceVersion, Side
from billing.pricing.lists import drafts, queries
from billing.pricing.lists.effects import PriceEffect, price_effect
from billing.pricing.lists.forms import ItemForm, PublishForm
from billing.pricing.lists.kinds import ITEMS, items_of, provider_label
from billing.pricing.lists.offerings import unknown_offerings
from billing.pricing.lists.prices import is_priced_item
from billing.pricing.lists.versions import DRAFT, in_force_on, version_rows
from billing.pricing.lists.wording import items_of_prices, name_of, price_changes
from customers.operations.view_helpers import add_refusal, refusals_on, refusals_told
from portal.audit.models import AuditEvent
from portal.audit.queries import last_change
from portal.edits import EditConflict, status_of
from portal.htmx import command_of, go_to, person
from portal.query_params import day_or_none, uuid_or_none
from portal.refusals import Refusal


@require_POST
def draft_start(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Open the list's draft; a new one starts from the version in force, or from the one that is to be corrected."""
    price_list = queries.price_list_or_404(person(request), public_id)
    source = None
    if chosen := request.POST.get("source", ""):
        source = get_object_or_404(price_list.versions, public_id=uuid_or_none(chosen), published_at__isnull=False)
    try:
        draft = drafts.start_draft(command_of(request), price_list=price_list, source=source)
    except Refusal as refusal:
        messages.warning(request, str(refusal))
        return go_to(request, "billing:price-list", price_list.public_id)
    return go_to(request, "billing:price-version", draft.public_id)


@require_GET
def price_version(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    version = queries.version_or_404(person(request), public_id)
    price_list, today = version.price_list, timezone.now().date()
    rows = version_rows(price_list.versions.all(), today)
    row = next(each for each in rows if each.version.pk == version.pk)
    base = _compared_with(version, version.valid_from or today)
    context = {
        "version": version,
        "price_list": price_list,
        "provider": provider_label(price_list.provider_kind),
        "row": row,
        "is_draft": row.state == DRAFT,
        "items": items_of_prices(version.prices, price_list.currency),
        "kinds": items_of(price_list.provider_kind).items(),
        "base": base,
        "changes": price_changes(base.prices if base else [], version.prices, price_list.currency),
        "unknown": _unknown(version),
    }
    return render(request, "billing/pricing/version.html", context)


def _compared_with(version: PriceVersion, day: date) -> PriceVersion | None:
    """Return the version in force on a day before this one was published."""
    if version.published_at is None:
        return in_force_on(version.price_list, day)
    earlier = version.price_list.versions.filter(published_at__isnull=False, n__lt=version.n, valid_from__lte=day)
    return earlier.order_by("-valid_from", "-n").first()


def _unknown(version: PriceVersion) -> list[str]:
    names = {price["offering"] for price in version.prices}
    return unknown_offerings(version.price_list.provider_kind, names)


@require_http_methods(["GET", "POST"])
def price_add(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Add an item to a draft. `?item=` is its kind, `?offering=` a suggestion."""
    version = queries.draft_or_404(person(request), public_id)
    item = _item_or_404(request, version)

    def form_of(data: Any = None) -> ItemForm:
        return ItemForm(
            data,
            price_list=version.price_list,
            prices=version.prices,
            item=item,
            suggested=request.GET.get("offering", "")[:200],
        )

    form = form_of(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_on(form):
            facts = {"offering": ""} | form.facts_to_write()
            offering = facts["offering"]
            drafts.edit_price(
                command_of(request), version=version, offering=offering, item=item, facts=facts, is_new=True
            )
            messages.success(request, _("Price added to the draft."))
            return go_to(request, "billing:price-version", version.public_id)
    return _item_page(request, version, form, item)


@require_http_methods(["GET", "POST"])
def price_edit(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Edit the item of a draft that `?offering=` and `?item=` name."""
    version = queries.draft_or_404(person(request), public_id)
    item, offering = _item_or_404(request, version), request.GET.get("offering", "")
    if not is_priced_item(version.prices, offering, item):
        raise Http404

    def form_of(version: PriceVersion, data: Any = None) -> ItemForm:
        return ItemForm(data, price_list=version.price_list, prices=version.prices, item=item, offering=offering)

    form = form_of(version, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            with refusals_on(form):
                drafts.edit_price(
                    command_of(request),
                    version=version,
                    offering=offering,
                    item=item,
                    facts=form.facts_to_write(),
                    seen=form.seen,
                )
                messages.success(request, _("Price saved in the draft."))
                return go_to(request, "billing:price-version", version.public_id)
        except EditConflict as conflict:
            version.refresh_from_db()
            form.show(conflict, fresh=form_of(version), last=_last_edit(version))
    return _item_page(request, version, form, item)


def _last_edit(version: PriceVersion) -> AuditEvent | None:
    return last_change(version.price_list, {"version"})


def _item_or_404(request: HttpRequest, version: PriceVersion) -> str:
    item = request.GET.get("item", "")
    if item not in items_of(version.price_list.provider_kind):
        raise Http404
    return item


def _item_page(request: HttpRequest, version: PriceVersion, form: ItemForm, item: str) -> HttpResponse:
    context = {
        "form": form,
        "version": version,
        "price_list": version.price_list,
        "item": item,
        "item_label": ITEMS[item],
        "is_new": form.offering is None,
        "offering": form.offering or "",
        "name": name_of(form.offering) if form.offering is not None else "",
        "here": request.get_full_path(),
        "remove": "?" + urlencode({"item": item, "offering": form.offering or ""}),
    }
    return render(request, "billing/pricing/price.html", context, status=status_of(form))


@require_POST
def price_remove(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    version = queries.draft_or_404(person(request), public_id)
    item, offering = _item_or_404(request, version), request.GET.get("offering", "")
    with refusals_told(request):
        if drafts.remove_price(command_of(request), version=version, offering=offering, item=item):
            messages.success(request, _("Price removed from the draft."))
    return go_to(request, "billing:price-version", version.public_id)


@require_http_methods(["GET", "POST"])
def price_publish(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show what differs from the version in force on the first day (`?from=`), and publish the draft."""
    version = queries.version_or_404(person(request), public_id)
    price_list, today = version.price_list, timezone.now().date()
    if version.published_at and request.method == "GET":
        return go_to(request, "billing:price-version", version.public_id)
    start = day_or_none(request.GET.get("from", "")) or version.valid_from or today
    form = PublishForm(request.POST or None, initial={"valid_from": start, "note": version.note})
    if request.method == "POST" and form.is_valid():
        start = form.cleaned_data["valid_from"]
        if _publish(request, version, form):
            return go_to(request, "billing:price-list", price_list.public_id)
        version.refresh_from_db()
    base = in_force_on(price_list, start)
    context = {
        "form": form,
        "version": version,
        "price_list": price_list,
        "base": base,
        "start": start,
        "seen": _comparison(price_list, start),
        "is_past": start <= today,
        "replaces": bool(base and base.valid_from == start),
        "changes": price_changes(base.prices if base else [], version.prices, price_list.currency),
        "unknown": _unknown(version),
        "with_effects": price_list.side == Side.SELL,
        "effects_url": reverse("billing:price-effects", args=[version.public_id]),
        "effect": _asked_effect(request, version),
    }
    return render(request, "billing/pricing/publish.html", context, status=422 if form.errors else 200)


def _publish(request: HttpRequest, version: PriceVersion, form: PublishForm) -> bool:
    """Publish the draft as the form says; return whether that was done."""
    values = form.cleaned_data
    if values["seen"] != _comparison(version.price_list, values["valid_from"]):
        form.add_error(None, _("Another version is in force on this day. Review the changes, then publish."))
        return False
    try:
        drafts.publish_version(
            command_of(request),
            version=version,
            valid_from=values["valid_from"],
            seen_edits=values["edits"],
            note=values["note"],
        )
    except Refusal as refusal:
        add_refusal(form, refusal)
        return False
    messages.success(request, _("Version %(n)d published.") % {"n": version.n})
    return True


def _comparison(price_list: PriceList, start: date) -> str:
    """Return which version a draft with this first day is compared with, and whether it replaces that version."""
    base = in_force_on(price_list, start)
    return f"{base.public_id} {base.valid_from == start}" if base else ""


def _asked_effect(request: HttpRequest, version: PriceVersion) -> PriceEffect | None:
    """Return the effect for a page without scripts, where it was asked for."""
    if "effects" not in request.GET or version.price_list.side == Side.COST:
        return None
    return price_effect(version.prices, version.price_list, now=timezone.now())


@require_GET
def price_effects(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Return the fragment with what a version's prices would have moved."""
    version = queries.version_or_404(person(request), public_id)
    if version.price_list.side == Side.COST:
        raise Http404
    effect = price_effect(version.prices, version.price_list, now=timezone.now())
    return render(request, "billing/pricing/_effects.html", {"effect": effect})
