"""``{% load usage %}``: figures and their status, short numbers for charts, and the dates of a billing period."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from django import template
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from billing import labels
from billing.models import NOT_OVER, Anomaly, Status
from portal import formats
from portal.ui.cells import icon, missing

register = template.Library()
_UNITS = ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))


@register.simple_tag
def figure_status(status: str, reason: str = "", header: bool = False) -> SafeString:
    """Render the status of a figure: icon and word, with its explanation in the title. The only way it is shown.

    `reason`: a code of `labels.REASONS`. `header`: with a fill, for page headers.
    """
    return _figure_status(str(status), reason, header, get_language() or "")


@lru_cache(maxsize=512)
def _figure_status(status: str, reason: str, header: bool, language: str) -> SafeString:
    look = labels.STATUSES[status]
    # A number that a person decided must not look like one that the provider reported.
    decided = is_decision(reason) and status == Status.FINAL
    return format_html(
        '<span class="pk-state bl-s-{}{}" title="{}">{}<span>{}</span></span>{}',
        status,
        " pk-fill" if look.filled or header else "",
        labels.reason(reason) or look.sentence,
        icon(look.icon, 14),
        Status(status).label,
        format_html(' <span class="pk-mute bl-decided">{}</span>', _("decided")) if decided else "",
    )


@register.simple_tag
def figure(least: int | None, most: int | None, status: str) -> SafeString:
    """Render the least and the most a figure can be: "90,000", "31,000 - 121,000", or "31,000 or more".

    A missing one is a dash. Open periods show what was read so far; their status says so.
    """
    if least is None:
        return missing()
    return format_html('<span class="pk-num">{}</span>', figure_text(least, most, status))


def figure_text(least: int, most: int | None, status: str) -> str:
    words = formats.number_text(least)
    if status in NOT_OVER or most == least:
        return words
    if most is None:
        return _("%(n)s or more") % {"n": words}
    return f"{words} \u2013 {formats.number_text(most)}"


@register.filter
def status_word(status: str) -> str:
    """Return the status within a sentence: "missing"."""
    return str(Status(status).label).lower()


@register.filter
def counted_status(status: str, n: int) -> str:
    """Return the number of figures of a status: "46 intervals", "2 missing"."""
    if status == Status.INTERVAL:
        return ngettext("%(n)s interval", "%(n)s intervals", n) % {"n": compact(n)}
    return f"{compact(n)} {status_word(status)}"


@register.filter
def is_decision(reason: str) -> bool:
    """Return whether a figure has its status because a person decided about it."""
    return reason in ("as_known", "quantity", "base_only", "above_quantity", "quantity_too_high")


@register.filter
def as_number(text: str) -> str:
    """Return the digits of an anomaly's value grouped: "used 47,632"; dates and amounts stay as they are."""
    *words, last = text.split(" ")
    return " ".join([*words, formats.number_text(int(last))]) if last.isascii() and last.isdigit() else text


@register.filter
def anomaly_values(anomaly: Anomaly) -> str:
    """Return the values of an anomaly for a list. An arrow is only between values of one kind."""
    was, now = as_number(anomaly.before), as_number(anomaly.after)
    if anomaly.kind == Anomaly.Kind.CEILING:
        return _("%(n)s, at most %(most)s") % {"n": now, "most": was}
    if anomaly.kind == Anomaly.Kind.CONTRADICTION:
        return f"{was}, {now}"
    return f"{was} \u2192 {now}" if was else now


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


@register.simple_tag
def cycle_dates(start: date | None, end: date | None) -> str:
    """Return the dates of a billing period, both inclusive: "1-30 Nov", "15 Oct - 14 Nov", with en dashes; "30 Nov"."""
    if start is None or end is None:
        return ""
    if start == end:
        return formats.day_text(end)
    if (start.year, start.month) == (end.year, end.month):
        return f"{start.day}\u2013{formats.day_text(end)}"
    first = date_format(start, "j M") if start.year == end.year else formats.day_text(start)
    return f"{first} \u2013 {formats.day_text(end)}"
