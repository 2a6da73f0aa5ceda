"""Labels of billing shared by pages, exports and messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

SOURCES: dict[str, str | Promise] = {
    "credits": gettext_lazy("Credits API"),
    "overview_json": gettext_lazy("v2 overview (JSON)"),
    "overview_xml": gettext_lazy("v2 overview (XML)"),
    "pooled": gettext_lazy("pooled usage report"),
}


@dataclass(frozen=True, slots=True)
class StatusLook:
    """How the status of a figure is shown: `filled` where somebody has to act. `sentence` explains it."""

    icon: str
    sentence: str | Promise
    filled: bool = False


# By the values of billing.models.Status, worst first, as they are listed.
STATUSES: dict[str, StatusLook] = {
    "missing": StatusLook(
        "database-off", gettext_lazy("No usage data. It isn't zero, and it isn't included in totals.")
    ),
    "disputed": StatusLook(
        "alert-triangle",
        gettext_lazy("The provider's values contradict each other. Finance has to decide."),
        filled=True,
    ),
    "stale": StatusLook(
        "hourglass",
        gettext_lazy("The billing period is open, but usage wasn't updated for more than 36 hours."),
        filled=True,
    ),
    "interval": StatusLook(
        "arrows-horizontal", gettext_lazy("The billing period ended. The exact number lies between the two shown.")
    ),
    "open": StatusLook("clock-hour-4", gettext_lazy("The billing period hasn't ended. Usage so far.")),
    "derived": StatusLook("calculator", gettext_lazy("Exact, calculated from daily statistics.")),
    "final": StatusLook("circle-check", gettext_lazy("Exact. Nothing can be added.")),
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
    "above_quantity": gettext_lazy(
        "The provider reported more emails than Finance entered. Finance has to decide again."
    ),
    "quantity_too_high": gettext_lazy(
        "Finance entered more emails than the account can have sent. Finance has to decide again."
    ),
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


def sources(names: Iterable[str]) -> str:
    return get_text_list([source(name) for name in names], str(_("and")))


def reason(code: str) -> str:
    """Return why a figure has its status, as a sentence; "" if the status says it all."""
    return str(REASONS.get(code, ""))


def cause(code: str) -> str:
    """Return why a figure changed."""
    return str(CAUSES.get(code, code))
