"""``{% load usage %}``: short numbers for the labels of charts."""

from __future__ import annotations

from django import template
from django.utils.formats import number_format

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
