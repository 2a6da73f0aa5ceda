"""Filters of the usage report, read from the query string."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import Status
from billing.usage.periods import month_after
from customers.models import Connection
from portal.filters import Filter, ListFilters, one_of, size_filter, sort_filter, sorted_by
from portal.query_params import day_or_none, searchable

ONLY: dict[str, str | Promise] = {
    "over": _("Over quota"),
    "undecided": _("Not final: missing, disputed, stale or interval"),
    "unreferenced": _("No external reference"),
}
SORTS = ("name", "reference", "package", "allowed", "used", "over", "end", "status", "read")
# For roles that may see cost: the order reveals it as well as a figure does.
COST_SORTS = ("share",)
DEFAULT_SORT = "-used"
SIZES = (50, 100, 200)
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


def _month(text: str) -> date | None:
    match = _MONTH.fullmatch(text)
    return date(int(match[1]), int(match[2]), 1) if match else None


class PeriodFilters(ListFilters):
    """The billing period of an account's usage page, by the day it starts. An account without that period has none."""

    cycle = Filter(_("Billing period"), day_or_none)


class UsageFilters(ListFilters):
    """Filters of the report. `today` is the UTC date, `month` the first day of the month: at most the next one (where
    open periods end), by default the current one. `with_cost`: cost may be seen."""

    month = Filter(_("Month"), _month)
    connection = Filter(_("Connection"), one_of(()), initial=None)
    status = Filter(_("Status"), one_of(Status.values))
    only = Filter(_("Show only"), one_of(ONLY))
    q = Filter(_("Search"), lambda text: searchable(text).lower())
    sort = sort_filter(SORTS, DEFAULT_SORT)
    size = size_filter(SIZES, SIZES[0])

    def __init__(self, query: Mapping[str, str], *, today: date, with_cost: bool = False) -> None:
        self.today, self.with_cost, self.page = today, with_cost, query.get("page", "1")
        self.connections = list(Connection.objects.all())
        by_key = {str(each.public_id): each for each in self.connections}
        sorts = sorted_by(SORTS + COST_SORTS if with_cost else SORTS)
        super().__init__(query, connection=by_key.get, sort=sorts)
        self.values["month"] = min(self.month or self.this_month, month_after(self.this_month))

    @property
    def this_month(self) -> date:
        return self.today.replace(day=1)

    @property
    def is_future(self) -> bool:
        """True if the month is still to come; only billing periods that are already open belong to it."""
        return bool(self.month > self.this_month)

    @property
    def narrowed(self) -> bool:
        return bool(self.status or self.only or self.q or self.lists_nothing)
