"""Components around a list's table: sort heads, pager, filter chips. All state stays in the URL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import template
from django.http import HttpRequest
from django.utils.http import urlencode

from portal import formats

register = template.Library()


def _query(request: HttpRequest, **changes: str | None) -> str:
    """Return the current query string with these keys set (None removes one), always as "?..."."""
    query: dict[str, Sequence[str]] = dict(request.GET.lists())
    for key, value in changes.items():
        if value is None:
            query.pop(key, None)
        else:
            query[key] = [value]
    return "?" + urlencode(query, doseq=True)


@register.inclusion_tag("components/_pager.html", takes_context=True)
def pager(context: template.Context, page: Any, target: str = "#list", param: str = "page") -> dict[str, Any]:
    """Render the position in a list and its links. ``page`` is a Django Page."""
    request: HttpRequest = context["request"]
    before = _query(request, **{param: str(page.previous_page_number())}) if page.has_previous() else ""
    after = _query(request, **{param: str(page.next_page_number())}) if page.has_next() else ""
    return {
        "before": before,
        "after": after,
        "target": target,
        "first": formats.number_text(page.start_index()),
        "last": formats.number_text(page.end_index()),
        # A paginator that stops counting at a bound has its own text ("10,000+").
        "count": getattr(page.paginator, "count_text", "") or formats.number_text(page.paginator.count),
        "path": request.path,
    }


@register.inclusion_tag("components/_sort_head.html", takes_context=True)
def sort_head(
    context: template.Context,
    column: str,
    label: str,
    *,
    numeric: bool = False,
    target: str = "#list",
    default: str = "",
) -> dict[str, Any]:
    """Render a sortable head: first click ascending, then descending. ``default``: the order without ``sort``."""
    request: HttpRequest = context["request"]
    now = request.GET.get("sort") or default
    order = "ascending" if now == column else "descending" if now == f"-{column}" else ""
    following = f"-{column}" if order == "ascending" else column
    return {
        "label": label,
        "numeric": numeric,
        "order": order,
        "href": _query(request, sort=following, page=None),
        "path": request.path,
        "target": target,
    }


@register.inclusion_tag("components/_refused_filters.html", takes_context=True)
def refused_filters(context: template.Context, refused: Mapping[str, str]) -> dict[str, Any]:
    """Say which filters of the URL are not known, above a list. ``refused``: the sentences, by parameter."""
    request: HttpRequest = context["request"]
    cleared = _query(request, **dict.fromkeys((*refused, "page")))
    return {"texts": refused.values(), "clear": f"{request.path}{cleared}"}


@register.inclusion_tag("components/_list_search.html", takes_context=True)
def list_search(context: template.Context, label: str, hint: str, kept: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Render the search field of a list. ``kept``: the list's other filters, which a search leaves as they are."""
    request: HttpRequest = context["request"]
    return {"label": label, "hint": hint, "kept": kept, "typed": request.GET.get("q", ""), "path": request.path}


@register.inclusion_tag("components/_filter_chip.html", takes_context=True)
def filter_chip(
    context: template.Context,
    param: str,
    label: str,
    choices: Iterable[tuple[Any, Any]] = (),
    *,
    target: str = "#list",
    value: str = "",
) -> dict[str, Any]:
    """Render a filter: dashed with a menu of links while unset, solid with a remove button once set.

    ``choices`` are (value, label) pairs. ``value`` is the text of an applied filter without choices (a date range).
    """
    request: HttpRequest = context["request"]
    pairs: Sequence[tuple[str, str]] = [(str(key), str(words)) for key, words in choices if str(key)]
    applied = [chosen for chosen in request.GET.getlist(param) if chosen]
    named = dict(pairs)
    links = [{"label": words, "href": _query(request, **{param: key, "page": None})} for key, words in pairs]
    return {
        "label": label,
        "param": param,
        "applied": value or ", ".join(named.get(one, one) for one in applied) if applied else "",
        "remove": _query(request, **{param: None, "page": None}),
        "choices": links,
        "path": request.path,
        "target": target,
    }
