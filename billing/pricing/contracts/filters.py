"""Filters of the contracts, read from the query string."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter
from portal.query_params import day_or_none, uuid_or_none

WITHOUT, DRAFTS, ALL = "without", "drafts", "all"
SHOWS: dict[str, str | Promise] = {
    DRAFTS: _("Drafts"),
    ALL: _("All contracts"),
    WITHOUT: _("Customers without a contract"),
}
ENDING: dict[str, str | Promise] = {
    "30": _("Within 30 days"),
    "60": _("Within 60 days"),
    "90": _("Within 90 days"),
    "365": _("Within a year"),
}


class ContractFilters(ListFilters):
    q = search_filter()
    show = Filter(_("Show"), one_of(SHOWS))
    on = Filter(_("In force on"), day_or_none)
    ending = Filter(_("Ending"), one_of(ENDING))
    price_list = Filter(_("Price list"), uuid_or_none, param="list")
    page = page_filter()
