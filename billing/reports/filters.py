"""Filters of the usage pages, read from the query string."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.models import Status
from billing.usage.periods import month_after, month_or_none, month_words
from customers.models import Connection, Customer
from portal.filters import Filter, ListFilters, one_of, page_filter, size_filter, sort_filter, sorted_by
from portal.query_params import day_or_none, searchable, uuid_or_none

ONLY: dict[str, str | Promise] = {
    "over": _("Overage"),
    "not_final": _("Not final"),
    "unreferenced": _("No external reference"),
    "cap": _("Monthly cap reached"),
    "stopped": _("Stopped sending: no increase for 7 days"),
}
# Percent of the quota. A figure reaches it for certain, or only if its upper end is right.
QUOTA: dict[str, str | Promise] = {
    "80": _("80% or more"),
    "100": _("100% or more"),
    "200": _("200% or more"),
    "250": _("250% or more"),
    "may80": _("May reach 80%"),
    "may100": _("May reach 100%"),
    "may200": _("May reach 200%"),
    "may250": _("May reach 250%"),
}
# Hours until the provider stops accepting email, at the present rate.
CEILING: dict[str, str | Promise] = {"24": _("within 24 hours"), "72": _("within 3 days")}
GROUPS = ("customer",)
SORTS = ("name", "reference", "package", "allowed", "used", "over", "end", "status", "read")
CUSTOMER_SORTS = ("name", "reference", "figures", "used", "over")
# For roles that may see cost: the order reveals it as well as a figure does.
COST_SORTS = ("share",)
DEFAULT_SORT = "-used"
SIZES = (50, 100, 200)


def _customer(text: str) -> Customer | None:
    public_id = uuid_or_none(text)
    return Customer.objects.filter(public_id=public_id).first() if public_id else None


class PeriodFilters(ListFilters):
    """The billing period of an account's usage page, by the day it starts. An account without that period has none."""

    cycle = Filter(_("Billing period"), day_or_none)


class MonthFilters(ListFilters):
    """The month of the usage pages, and the page of their list. `today` is the UTC date, `month` the first day of the
    month: at most the next one (where open periods end), by default the current one."""

    month = Filter(_("Month"), month_or_none, words=month_words)
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, today: date, **parsers: Callable[[str], Any]) -> None:
        self.today = today
        super().__init__(query, **parsers)
        if self.month and self.month > self.latest_month:
            self.refuse("month", self._too_late())
        self.values["month"] = self.month or self.this_month

    @property
    def this_month(self) -> date:
        return self.today.replace(day=1)

    @property
    def latest_month(self) -> date:
        return month_after(self.this_month)

    @property
    def is_future(self) -> bool:
        """True if the month is still to come; only billing periods that are already open belong to it."""
        return bool(self.month > self.this_month)

    def _too_late(self) -> str:
        words = {"value": f"{self.month:%Y-%m}", "latest": date_format(self.latest_month, "F Y")}
        return gettext("Month: “%(value)s” is too far in the future. Select %(latest)s or an earlier month.") % words


class SearchFilters(MonthFilters):
    """Month and customers of a usage page."""

    connection = Filter(_("Connection"), one_of(()), initial=None)
    customer = Filter(_("Customer"), _customer, initial=None)
    q = Filter(_("Search"), lambda text: searchable(text).lower())
    size = size_filter(SIZES, SIZES[0])

    def __init__(self, query: Mapping[str, str], *, today: date, **parsers: Callable[[str], Any]) -> None:
        self.connections = list(Connection.objects.all())
        by_key = {str(each.public_id): each for each in self.connections}
        super().__init__(query, today=today, connection=by_key.get, **parsers)


class UsageFilters(SearchFilters):
    """Filters of the report. `with_cost`: cost may be seen. `group`: one row per customer instead of per figure."""

    status = Filter(_("Status"), one_of(Status.values), words=dict(Status.choices))
    quota = Filter(_("Quota used"), one_of(QUOTA), words=QUOTA)
    ceiling = Filter(_("Reaches sending limit"), one_of(CEILING), words=CEILING)
    only = Filter(_("Show only"), one_of(ONLY), words=ONLY)
    group = Filter(_("Group"), one_of(GROUPS), words={"customer": _("By customer")})
    # A filter of earlier versions: its links are refused, so that they never list more than was requested.
    state = Filter(_("State"), one_of(()))
    sort = sort_filter(SORTS, DEFAULT_SORT)

    def __init__(self, query: Mapping[str, str], *, today: date, with_cost: bool = False) -> None:
        self.with_cost = with_cost
        columns: tuple[str, ...] = SORTS + COST_SORTS if with_cost else SORTS
        if query.get("group") in GROUPS:
            columns = CUSTOMER_SORTS
        super().__init__(query, today=today, sort=sorted_by(columns))

    @property
    def by_figure(self) -> bool:
        """True if figures are selected one by one, not only by their customer."""
        return bool(self.status or self.quota or self.ceiling or self.only not in ("", "unreferenced"))

    @property
    def narrowed(self) -> bool:
        return bool(self.by_figure or self.only or self.q or self.customer or self.lists_nothing)
