"""``{% load usage %}``: short numbers for charts, numbers inside sentences, and the dates of a billing period."""

from __future__ import annotations

from datetime import date

from django import template
from django.utils.formats import date_format, number_format

from portal import formats

register = template.Library()
_UNITS = ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))


@register.filter
def compact(value: int | None) -> str:
    """Return 48203911 as "48.2M". For axis labels only; the table shows exact numbers."""
    if value is None:
        return ""
    for size, unit in _UNITS:
        if value >= size:
            return f"{number_format(round(value / size, 1), use_l10n=True).rstrip('0').rstrip('.')}{unit}"
    return str(value)


@register.filter
def plain(value: int | None) -> str:
    """Return the number as text for use inside a sentence; "" for None."""
    return "" if value is None else formats.number_text(value)


@register.filter
def value_text(value: str) -> str:
    """Return a stored value of an anomaly for reading: "100000" as "100,000", words as they are."""
    return formats.number_text(int(value)) if value.isascii() and value.isdigit() else value


@register.simple_tag
def cycle_dates(start: date | None, end: date | None) -> str:
    """Return the dates of a billing period, both inclusive: "1-30 Nov", "15 Oct - 14 Nov", with en dashes."""
    if start is None or end is None:
        return ""
    if (start.year, start.month) == (end.year, end.month):
        return f"{start.day}\u2013{formats.day_text(end)}"
    first = date_format(start, "j M") if start.year == end.year else formats.day_text(start)
    return f"{first} \u2013 {formats.day_text(end)}"
