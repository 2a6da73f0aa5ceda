"""The saved views above the customer list, each with how many rows it has."""

from __future__ import annotations

from dataclasses import dataclass

from customers.directory.filters import VIEWS, CustomerFilters
from customers.directory.search import Matching
from portal.counting import counts_of
from portal.formats import number_text
from portal.paging import COUNTED

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


def tabs_of(filters: CustomerFilters, listed: int) -> list[Tab]:
    """Return the tabs. Counts are of the whole view, whatever filter is on; all of them are one statement. `listed`:
    how many rows the list has, which is the view's number where nothing narrows it."""
    counts = {} if filters.narrowed or filters.lists_nothing else {str(filters.view): listed}
    wholes = {
        view: Matching(CustomerFilters({"view": view}, filters.user, connections=filters.connections))
        for view in VIEWS
        if view not in counts
    }
    accounts = [whole.counted[: _most(view) + 1] for view, whole in wholes.items()]
    bare = {view: whole.bare for view, whole in wholes.items() if whole.filters.with_bare}
    found = counts_of([*accounts, *bare.values()])
    counts |= dict(zip(wholes, found, strict=False))
    for view, more in zip(bare, found[len(wholes) :], strict=True):
        counts[view] += more
    return [_tab(view, counts[view], filters.view) for view in VIEWS]


def _most(view: str) -> int:
    return COUNTED if view == "all" else MOST


def _tab(view: str, found: int, chosen: str) -> Tab:
    most = _most(view)
    text = number_text(found) if found <= most else f"{number_text(most)}+"
    return Tab(view, str(VIEWS[view]), text, view == chosen, view in CALLS_FOR_ACTION and found > 0)
