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


def tabs_of(filters: CustomerFilters) -> list[Tab]:
    """Return the tabs. Counts are of the whole view, whatever filter is on; all of them are one statement."""
    wholes = [Matching(CustomerFilters({"view": key}, filters.user, connections=filters.connections)) for key in VIEWS]
    most = [COUNTED if whole.filters.view == "all" else MOST for whole in wholes]
    accounts = [whole.accounts[: at_most + 1] for whole, at_most in zip(wholes, most, strict=True)]
    found = counts_of([*accounts, *(whole.bare for whole in wholes)])
    sums = map(sum, zip(found[: len(wholes)], found[len(wholes) :], strict=True))
    return [
        _tab(whole.filters.view, n, at_most, filters.view) for whole, n, at_most in zip(wholes, sums, most, strict=True)
    ]


def _tab(view: str, found: int, most: int, chosen: str) -> Tab:
    text = number_text(found) if found <= most else f"{number_text(most)}+"
    return Tab(view, str(VIEWS[view]), text, view == chosen, view in CALLS_FOR_ACTION and found > 0)
