"""Labels of billing shared by pages, exports and messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.utils.functional import Promise
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

SOURCES: dict[str, str | Promise] = {
    "credits": gettext_lazy("Credits API"),
    "overview_json": gettext_lazy("v2 overview (JSON)"),
    "overview_xml": gettext_lazy("v2 overview (XML)"),
    "pooled": gettext_lazy("pooled usage report"),
}
# Short forms for narrow columns.
SHORT_SOURCES: dict[str, str | Promise] = {
    "credits": gettext_lazy("Credits API"),
    "overview_json": gettext_lazy("v2 JSON"),
    "overview_xml": gettext_lazy("v2 XML"),
    "pooled": gettext_lazy("pooled report"),
}
EXPORT_HEADER: tuple[str | Promise, ...] = (
    gettext_lazy("Month"),
    gettext_lazy("Customer"),
    gettext_lazy("External reference"),
    gettext_lazy("Account ID"),
    gettext_lazy("Connection"),
    gettext_lazy("State"),
    gettext_lazy("Package"),
    gettext_lazy("Requests"),
    gettext_lazy("Quota (emails)"),
    gettext_lazy("Usage (emails)"),
    gettext_lazy("Remaining (emails)"),
    gettext_lazy("Overage (emails)"),
    gettext_lazy("Reputation (0-100)"),
    gettext_lazy("Billing period start (date)"),
    gettext_lazy("Billing period end (date, inclusive)"),
    gettext_lazy("Processing date"),
    gettext_lazy("Data status"),
    gettext_lazy("Source"),
    gettext_lazy("As of (UTC)"),
    gettext_lazy("Last update before period end (seconds)"),
    gettext_lazy("Billing period inferred"),
    gettext_lazy("Usage not accepted (emails)"),
)
# For roles that may see cost. The note is in the first row of each connection.
EXPORT_COST_HEADER: tuple[str | Promise, ...] = (
    gettext_lazy("Allocated cost (share of one invoice, not a price)"),
    gettext_lazy("Currency"),
    gettext_lazy("Provider note on allocated cost"),
)
# Stable values for programs that read the file.
EXPORT_REACH = {
    "gap": "no data",
    "due": "not synced yet",
    "open": "open",
    "whole": "final",
    "partial": "partial",
    "final": "final before deletion",
}


def source(name: str | None) -> str:
    return str(SOURCES.get(name or "", name or ""))


def short_source(name: str | None) -> str:
    return str(SHORT_SOURCES.get(name or "", name or ""))


def sources(names: Iterable[str]) -> str:
    return get_text_list([source(name) for name in names], str(_("and")))


def reach_words(reach: str, unread: timedelta) -> str:
    """Return how complete the period's usage is, for example "updated 4 min before period end"."""
    if reach == "gap":
        return _("no usage data")
    if reach == "due":
        return _("not synced yet")
    if reach == "open":
        return _("open")
    if reach == "final":
        return _("final, before deletion")
    seconds = int(unread.total_seconds())
    if seconds < 60:
        return _("final")
    return _("updated %(time)s before period end") % {"time": span(seconds)}


def span(seconds: int) -> str:
    """Return a duration in its largest unit: minutes, hours or days."""
    if seconds < 3600:
        return _("%(n)d min") % {"n": seconds // 60}
    if seconds < 86400:
        return _("%(n)d h") % {"n": seconds // 3600}
    days = seconds // 86400
    return ngettext("%(n)d day", "%(n)d days", days) % {"n": days}
