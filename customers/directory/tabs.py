"""The saved views above the customer list, each with how many rows it has."""

from __future__ import annotations

from dataclasses import dataclass

from customers.directory.filters import VIEWS, CustomerFilters
from customers.directory.list import Lines
from portal.formats import number_text

# A tab shows "999+" beyond: the number that matters there is small.
MOST = 999
CALLS_FOR_ACTION = frozenset({"attention"})


@dataclass(frozen=True)
class Tab:
    key: str
    label: str
    count: str
    current: bool
    warns: bool


def tabs_of(filters: CustomerFilters) -> list[Tab]:
    """Return the tabs. Counts are of the whole view, whatever filter is on."""
    wholes = {key: CustomerFilters({"view": key}, filters.user, connections=filters.connections) for key in VIEWS}
    return [_tab(whole, str(VIEWS[key]), filters.view) for key, whole in wholes.items()]


def _tab(filters: CustomerFilters, label: str, chosen: str) -> Tab:
    lines = Lines(filters)
    if filters.view == "all":
        found, most = lines.count(), None if lines.is_counted else lines.count()
    else:
        found, most = lines.matching.accounts[: MOST + 1].count() + lines.bare_count, MOST
    text = number_text(found) if most is None or found <= most else f"{number_text(most)}+"
    return Tab(filters.view, label, text, filters.view == chosen, filters.view in CALLS_FOR_ACTION and found > 0)
