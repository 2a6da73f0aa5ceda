"""Labels of billing shared by pages, exports and messages."""

from __future__ import annotations

from collections.abc import Iterable

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
# Why a figure has its status; codes of billing.usage.assess.
REASONS: dict[str, str | Promise] = {
    "not_sending": gettext_lazy("The account couldn't send until the end of the billing period."),
    "nothing_sent": gettext_lazy("Statistics show no requests after the last update."),
    "read_after_end": gettext_lazy("The provider reported the same number twice after the end, 8 hours apart."),
    "ceiling": gettext_lazy("The account reached the most it can send."),
    "before_deletion": gettext_lazy("Updated right before the account was deleted."),
    "calibrated": gettext_lazy(
        "Calculated from statistics, which matched the provider's count on the last 7 days compared."
    ),
    "not_read_to_end": gettext_lazy("Emails sent after the last update may be missing."),
    "deleted": gettext_lazy("The account was deleted at the provider. Emails sent after the last update are unknown."),
    "undecided": gettext_lazy("The provider's values contradict each other. Finance has to decide."),
    "as_known": gettext_lazy("Finance decided to use the usage known so far."),
    "quantity": gettext_lazy("Finance entered the number of emails."),
    "base_only": gettext_lazy("Finance decided to charge the base fee only."),
}
# Why a figure changed; codes of billing.usage.figures.
CAUSES: dict[str, str | Promise] = {
    "reading": gettext_lazy("The provider reported a new value."),
    "period_over": gettext_lazy("The billing period ended."),
    "statistics": gettext_lazy("Statistics were updated."),
    "decision": gettext_lazy("Finance made a decision."),
    "export": gettext_lazy("The figure was exported."),
}


def source(name: str | None) -> str:
    return str(SOURCES.get(name or "", name or ""))


def short_source(name: str | None) -> str:
    return str(SHORT_SOURCES.get(name or "", name or ""))


def sources(names: Iterable[str]) -> str:
    return get_text_list([source(name) for name in names], str(_("and")))


def reason(code: str) -> str:
    """Return why a figure has its status, as a sentence; "" if the status says it all."""
    return str(REASONS.get(code, ""))


def cause(code: str) -> str:
    """Return why a figure changed."""
    return str(CAUSES.get(code, code))


def span(seconds: int) -> str:
    """Return a duration in its largest unit: minutes, hours or days."""
    if seconds < 3600:
        return _("%(n)d min") % {"n": seconds // 60}
    if seconds < 86400:
        return _("%(n)d h") % {"n": seconds // 3600}
    days = seconds // 86400
    return ngettext("%(n)d day", "%(n)d days", days) % {"n": days}
