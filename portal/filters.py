"""Filters of a list, read from the query string.

An unknown value is never ignored: the page and the export answer with status 400 and a sentence, and list nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.paginator import EmptyPage, Page, Paginator
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.query_params import line, searchable

# They change how rows are shown, not which.
APPEARANCE = frozenset({"sort", "size"})


@dataclass(eq=False)
class Filter:
    """One filter of a list, an attribute of its `ListFilters`. `parse` returns None for a value that is not known.

    `lookup`: how `narrow` applies it. `param`: its name in the URL, where that is not the attribute's. `words`: the
    labels of its values, or what makes a value a text, for `ListFilters.in_words`.
    """

    label: Any
    parse: Callable[[str], Any]
    initial: Any = ""
    lookup: str = ""
    param: str = ""
    words: Mapping[Any, Any] | Callable[[Any], Any] = str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.param = name, self.param or name

    def __get__(self, filters: ListFilters, owner: type) -> Any:
        return filters.values[self.name]

    def in_words(self, value: Any) -> str:
        """Return "State: Active"."""
        words = self.words
        said = words(value) if callable(words) else words.get(value, value)
        return f"{self.label}: {said}"


class ListFilters:
    """The filters of one list; each attribute is the value of the URL, or the filter's initial one.

    `refused` are sentences about values that are not known, by parameter; `{% refused_filters %}` shows them. Then the
    list is empty: a page, an export or a bulk change never has more rows than were requested. `render_page` and
    `refused_export` answer so.
    """

    def __init__(self, query: Mapping[str, str], **parsers: Callable[[str], Any]) -> None:
        """Read the filters. `parsers` replace those of filters whose values are known only now."""
        self.query = query
        declared = {name: each for kind in reversed(type(self).__mro__) for name, each in vars(kind).items()}
        self.filters = [each for each in declared.values() if isinstance(each, Filter)]
        self.values: dict[str, Any] = {}
        self.refused: dict[str, str] = {}
        for each in self.filters:
            text = query.get(each.param, "")
            found = parsers.get(each.name, each.parse)(text) if text else ""
            self.values[each.name] = found or each.initial
            if found is None:
                self.refuse(each.name)

    def refuse(self, name: str, sentence: str = "") -> None:
        """Refuse the value of the filter `name`, also one that its parser took and that turned out not to exist.
        `sentence` replaces the usual one."""
        refused = next(each for each in self.filters if each.name == name)
        self.refused[refused.param] = sentence or _refusal(refused, self.query.get(refused.param, ""))
        self.values[name] = refused.initial

    @property
    def lists_nothing(self) -> bool:
        return not APPEARANCE.issuperset(self.refused)

    def page_of(self, paginator: Paginator[Any]) -> Page[Any]:
        """Return the page of the list that the filter `page` selects. One beyond the last is refused."""
        try:
            return paginator.page(self.values["page"])
        except EmptyPage:
            self.refuse("page")
            return Paginator((), paginator.per_page).page(1)

    def narrow(self, found: QuerySet[Any], **lookups: str) -> QuerySet[Any]:
        """Apply the filters that have a lookup, their own or in `lookups`."""
        if self.lists_nothing:
            return found.none()
        used = {lookups.get(each.name, each.lookup): self.values[each.name] for each in self.filters}
        return found.filter(**{lookup: value for lookup, value in used.items() if lookup and value})

    def kept(self, without: str = "q") -> list[tuple[str, str]]:
        """Return names and values for the hidden inputs of a form that sets the filter `without`, from page 1."""
        given = [(each.param, self.query.get(each.param, "")) for each in self.filters]
        return [(name, text) for name, text in given if text and name not in (without, "page")]

    def in_words(self, *, without: str = "") -> list[str]:
        """Return what narrows the list, as "State: Active", for the audit log. Appearance and page are left out, and
        the filter `without`."""
        unsaid = {*APPEARANCE, "page", without}
        chosen = [(each, self.values[each.name]) for each in self.filters if each.name not in unsaid]
        return [each.in_words(value) for each, value in chosen if value and value != each.initial]


def _refusal(refused: Filter, text: str) -> str:
    then = _("The default is used instead.") if refused.name in APPEARANCE else _("Clear it to see results.")
    return (
        _("%(filter)s: unknown value “%(value)s”.") % {"filter": refused.label, "value": line(text)[:60]} + " " + then
    )


def one_of(values: Iterable[Any]) -> Callable[[str], Any]:
    """Return the parser of a filter with these values."""
    return {str(value): value for value in values}.get


def search_filter() -> Filter:
    return Filter(gettext_lazy("Search"), searchable)


def sort_filter(columns: Iterable[str], initial: str) -> Filter:
    return Filter(gettext_lazy("Sort"), sorted_by(columns), initial)


def sorted_by(columns: Iterable[str]) -> Callable[[str], Any]:
    """Return the parser of an order: "name", or "-name" for the descending one."""
    return one_of(f"{sign}{column}" for column in columns for sign in ("", "-"))


def size_filter(sizes: Iterable[int], initial: int) -> Filter:
    return Filter(gettext_lazy("Rows"), one_of(sizes), initial)


def page_filter() -> Filter:
    return Filter(gettext_lazy("Page"), _page_number, 1)


def _page_number(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) < 10
    return (int(text) or None) if plain else None
