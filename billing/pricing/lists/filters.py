"""Filters of the price lists, read from the query string."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import Side
from billing.pricing.amounts import code_or_none
from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter
from portal.providers import CAPABILITIES

SHOWS: dict[str, str | Promise] = {"archived": _("Archived"), "draft": _("With a draft"), "none": _("Nothing in force")}


class PriceListFilters(ListFilters):
    """`with_cost`: whether the user sees cost lists; without it their side is an unknown value."""

    q = search_filter()
    side = Filter(_("Side"), one_of(Side.values), lookup="side")
    provider = Filter(_("Provider"), one_of(CAPABILITIES), lookup="provider_kind")
    currency = Filter(_("Currency"), code_or_none, lookup="currency")
    show = Filter(_("Show only"), one_of(SHOWS))
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, with_cost: bool) -> None:
        self.with_cost = with_cost
        super().__init__(query, side=one_of(Side.values if with_cost else [Side.SELL.value]))
