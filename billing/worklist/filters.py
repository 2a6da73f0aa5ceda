"""Filters of the list of usage to decide, read from the query string."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import Anomaly, Status
from billing.usage.periods import month_or_none
from customers.connections.queries import connection_filter
from portal.filters import Filter, ListFilters, one_of, page_filter, sort_filter, sorted_by

FIGURES: dict[str, str | Promise] = {
    Status.INTERVAL.value: _("Interval"),
    Status.MISSING.value: _("Missing"),
    Status.DISPUTED.value: _("Not as entered"),
}
KINDS: dict[str, str | Promise] = {kind.value: kind.label for kind in Anomaly.Kind} | FIGURES
ME, NOBODY = "me", "nobody"
OWNERS: dict[str, str | Promise] = {ME: _("Me"), NOBODY: _("Unassigned")}
SORTS = ("effect", "age")
# For roles that may see cost: the order reveals it as well as a figure does.
COST_SORTS = ("cost",)
DEFAULT_SORT = "-effect"


class WorklistFilters(ListFilters):
    kind = Filter(_("Reason"), one_of(KINDS))
    connection = connection_filter("")
    month = Filter(_("Month"), month_or_none)
    owner = Filter(_("Owner"), one_of(OWNERS))
    sort = sort_filter(SORTS, DEFAULT_SORT)
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, with_cost: bool) -> None:
        self.with_cost = with_cost
        super().__init__(query, sort=sorted_by(SORTS + COST_SORTS if with_cost else SORTS))

    @property
    def narrowed(self) -> bool:
        return bool(self.kind or self.connection or self.month or self.owner or self.lists_nothing)


class DecidedFilters(ListFilters):
    page = page_filter()
