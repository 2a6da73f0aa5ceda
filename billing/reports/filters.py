"""Filters of the usage report, read from the query string. Unknown values are ignored, never an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.usage.periods import month_after
from customers.models import Connection
from customers.models.account import AccountState
from portal.query_params import searchable

ONLY: dict[str, str | Promise] = {
    "over": _("Over package"),
    "gap": _("Not read, or not to the end"),
    "open": _("Cycle still open"),
    "lower": _("Went down, not taken over"),
}
SORTS = (
    "name", "reference", "state", "package", "requests", "allowed", "used", "remaining", "over", "reputation", "end",
    "read",
)  # fmt: skip
# For roles that may see cost: the order reveals it as well as a figure does.
COST_SORTS = ("share",)
DEFAULT_SORT = "-used"
SIZES = (50, 100, 200)
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class UsageFilters:
    """Filters of the report. `today` is the UTC date, `month` the first day of the month; `with_cost`: cost may be
    seen."""

    today: date
    month: date
    connections: tuple[Connection, ...] = ()
    connection: Connection | None = None
    state: str = ""
    only: str = ""
    q: str = ""
    sort: str = DEFAULT_SORT
    size: int = SIZES[0]
    page: str = "1"
    with_cost: bool = False

    @property
    def this_month(self) -> date:
        return self.today.replace(day=1)

    @property
    def is_future(self) -> bool:
        """True if the month is still to come; only billing periods that are already open belong to it."""
        return self.month > self.this_month

    @property
    def narrowed(self) -> bool:
        return bool(self.state or self.only or self.q)


def read_usage_filters(query: QueryDict, *, today: date, with_cost: bool = False) -> UsageFilters:
    connections = tuple(Connection.objects.all())
    size, sort = query.get("size", ""), query.get("sort", "")
    sorts = SORTS + COST_SORTS if with_cost else SORTS
    state, only = query.get("state", ""), query.get("only", "")
    return UsageFilters(
        today=today,
        month=_month(query.get("month", ""), today),
        connections=connections,
        connection=next((each for each in connections if str(each.public_id) == query.get("connection")), None),
        state=state if state in AccountState.values else "",
        only=only if only in ONLY else "",
        q=searchable(query.get("q", "")).lower(),
        sort=sort if sort.removeprefix("-") in sorts else DEFAULT_SORT,
        size=int(size) if size in {str(each) for each in SIZES} else SIZES[0],
        page=query.get("page", "1"),
        with_cost=with_cost,
    )


def _month(text: str, today: date) -> date:
    """Return the requested month, at most the next one (where open periods end); by default the current month."""
    latest = month_after(today.replace(day=1))
    if match := _MONTH.fullmatch(text):
        return min(date(int(match[1]), int(match[2]), 1), latest)
    return today.replace(day=1)
