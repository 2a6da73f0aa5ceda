"""Views of offerings without a price: the worklist, and the step from one of its rows to the draft of the list."""

from __future__ import annotations

import uuid

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from billing.models import Side
from billing.pricing.contracts.filters import WITHOUT, ContractFilters
from billing.pricing.contracts.queries import customers_without
from billing.pricing.lists.drafts import start_draft
from billing.pricing.lists.kinds import items_of
from billing.pricing.lists.queries import price_list_or_404
from billing.pricing.unpriced.queries import unpriced_offerings
from customers.operations.view_helpers import refusals_told
from portal.filters import Filter, ListFilters, one_of, page_filter
from portal.htmx import command_of, go_to, person, render_page

A_PAGE = 50
EVERY = "every"
SHOWS: dict[str, str | Promise] = {EVERY: _("All on sale")}


class UnpricedFilters(ListFilters):
    show = Filter(_("Show"), one_of(SHOWS))
    page = page_filter()


@require_GET
def unpriced(request: HttpRequest) -> HttpResponse:
    """List offerings without a price that accounts have, or with `?show=every` also those that nobody has yet."""
    today = timezone.now().date()
    filters = UnpricedFilters(request.GET)
    rows = [] if filters.lists_nothing else unpriced_offerings(today=today, is_held=filters.show != EVERY)
    context = {
        "filters": filters,
        "choices": SHOWS.items(),
        "page": filters.page_of(Paginator(rows, A_PAGE)),
        "is_every": filters.show == EVERY,
        "without": customers_without(ContractFilters({}), today=today).count(),
        "without_query": f"?show={WITHOUT}",
    }
    return render_page(request, "billing/unpriced/list.html", context, filters=filters)


@require_POST
def unpriced_add(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Open the draft of a sell list, at a new price for `offering` of the kind `item`."""
    price_list = price_list_or_404(person(request), public_id)
    offering, item = request.POST.get("offering", "")[:200], request.POST.get("item", "")
    if price_list.side != Side.SELL or item not in items_of(price_list.provider_kind):
        raise Http404
    address = reverse("billing:unpriced")
    with refusals_told(request):
        draft = start_draft(command_of(request), price_list=price_list)
        query = urlencode({"item": item, "offering": offering})
        address = f"{reverse('billing:price-add', args=[draft.public_id])}?{query}"
    return go_to(request, address)
