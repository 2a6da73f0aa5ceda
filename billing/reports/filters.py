"""Filters of the usage pages, read from the query string."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.usage.periods import month_after
from customers.models import Connection
from customers.models.account import AccountState
from portal.filters import Filter, ListFilters, one_of, page_filter, size_filter, sort_filter, sorted_by
from portal.query_params import day_or_none, searchable

ONLY: dict[str, str | Promise] = {
    "over": _("Over quota"),
    "gap": _("Missing or partial data"),
    "open": _("Billing period still open"),
    "lower": _("Usage not accepted"),
    "stopped": _("Stopped sending"),
}
# Percent of the quota that the usage is over. At 250 % a provider may refuse to send.
QUOTA_LEVELS = (80, 100, 200, 250)
SORTS = (
    "name",
    "reference",
    "state",
    "package",
    "requests",
    "allowed",
    "used",
    "remaining",
    "over",
    "reputation",
    "end",
    "read",
)
# For roles that may see cost: the order reveals it as well as a figure does.
COST_SORTS = ("share",)
DEFAULT_SORT = "-used"
SIZES = (50, 100, 200)
_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])")


def _month(text: str) -> date | None:
    match = _MONTH.fullmatch(text)
    return date(int(match[1]), int(match[2]), 1) if match else None


class PeriodFilters(ListFilters):
    """The billing period of an account's usage page, by the day it starts. An account without that period has none."""

    cycle = Filter(_("Billing period"), day_or_none)


class MonthFilters(ListFilters):
    """The month of the usage pages, and the page of their list. `today` is the UTC date, `month` the first day of the
    month: at most the next one (where open periods end), by default the current one."""

    month = Filter(_("Month"), _month)
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


class UsageFilters(MonthFilters):
    """Filters of the report. `with_cost`: cost may be seen."""

    connection = Filter(_("Connection"), one_of(()), initial=None)
    state = Filter(_("State"), one_of(AccountState.values))
    quota = Filter(_("Quota used"), one_of(QUOTA_LEVELS))
    only = Filter(_("Show only"), one_of(ONLY))
    q = Filter(_("Search"), lambda text: searchable(text).lower())
    sort = sort_filter(SORTS, DEFAULT_SORT)
    size = size_filter(SIZES, SIZES[0])

    def __init__(self, query: Mapping[str, str], *, today: date, with_cost: bool = False) -> None:
        self.with_cost = with_cost
        self.connections = list(Connection.objects.all())
        by_key = {str(each.public_id): each for each in self.connections}
        sorts = sorted_by(SORTS + COST_SORTS if with_cost else SORTS)
        super().__init__(query, today=today, connection=by_key.get, sort=sorts)

    @property
    def narrowed(self) -> bool:
        return bool(self.state or self.quota or self.only or self.q or self.lists_nothing)
