"""``{% load usage %}``: short numbers for the labels of charts, numbers inside sentences, and the span of a cycle."""

from __future__ import annotations

from datetime import date

from django import template
from django.utils.formats import date_format, number_format

from portal import formats

register = template.Library()
_UNITS = ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))


@register.filter
def compact(value: int | None) -> str:
    """48203911 -> "48.2M". For axis labels only: exact numbers stand in the table beside."""
    if value is None:
        return ""
    for size, unit in _UNITS:
        if value >= size:
            return f"{number_format(round(value / size, 1), use_l10n=True).rstrip('0').rstrip('.')}{unit}"
    return str(value)


@register.filter
def plain(value: int | None) -> str:
    """The number as text, for use inside a sentence; "" for a missing one."""
    return "" if value is None else formats.number_text(value)


@register.simple_tag
def cycle_dates(start: date | None, end: date | None) -> str:
    """The days of a cycle, both inclusive: "1-30 Nov", "15 Oct - 14 Nov", with real dashes."""
    if start is None or end is None:
        return ""
    if (start.year, start.month) == (end.year, end.month):
        return f"{start.day}\u2013{formats.day_text(end)}"
    first = date_format(start, "j M") if start.year == end.year else formats.day_text(start)
    return f"{first} \u2013 {formats.day_text(end)}"
