"""Kinds of blockers: findings that keep a statement from being exact, and what closing itself needs."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.pricing.statements.labels import FINDINGS, FindingLabel

INTERVAL, NO_REFERENCE, UNKNOWN_ACCOUNT, DIFFERENCE = "interval", "no_reference", "unknown_account", "difference"
REPORT_NOT_FINAL = "report_not_final"

OF_CLOSING: dict[str, FindingLabel] = {
    INTERVAL: FindingLabel(
        _("Usage between two numbers"),
        _("The usage lies between two numbers, and they are billed differently."),
        _("Decide the figure. You can bill what is known so far: later usage becomes an adjustment."),
    ),
    NO_REFERENCE: FindingLabel(
        _("No accounting reference"),
        _("The accounting tool can't tell which customer this statement belongs to."),
        _("Add an external reference to the customer, or an accounting reference to the next contract."),
    ),
    UNKNOWN_ACCOUNT: FindingLabel(
        _("Unknown account on the shared invoice"),
        _("The provider charges for an account that belongs to no customer here."),
        _("Link the account to a customer, or accept its cost as your own."),
    ),
    REPORT_NOT_FINAL: FindingLabel(
        _("Shared invoice not final"),
        _("The last report of the shared invoice was read before its period ended."),
        _("Start a usage sync. If the provider no longer has a later report, accept the last one."),
    ),
    DIFFERENCE: FindingLabel(
        _("Invoice differs from our figures"),
        _("The provider's invoices and the cost by our figures differ by more than the tolerance."),
        _("Compare them line by line. Correct what is wrong, or accept the difference with a reason."),
    ),
}
# A person decides the figure of these; accepting them would bill a guess. All others may be accepted with a reason.
OF_FIGURES = frozenset({"missing", "disputed", "open_ended", "not_final", INTERVAL})
# They concern all of a customer or connection, others an account of it.
WITHOUT_ACCOUNT = frozenset({"no_contract", "no_price_list", "unpriced", "no_report"})
# A connection whose cost nobody looks at blocks nothing: its cost statement stays open.
IGNORED = frozenset({"no_cost_source"})
# The order of the filter.
KINDS: dict[str, str | Promise] = {
    code: label.title
    for code, label in (FINDINGS | OF_CLOSING).items()
    if code in OF_CLOSING or not (label.is_noted or code in IGNORED)
}


@dataclass(frozen=True, slots=True)
class BlockerText:
    """The texts of a kind, and whether a person may accept such a blocker."""

    label: FindingLabel
    may_accept: bool


def blocker_text(kind: str) -> BlockerText:
    words = kind.replace("_", " ").capitalize()
    label = OF_CLOSING.get(kind) or FINDINGS.get(kind) or FindingLabel(words, words, "")
    return BlockerText(label, kind not in OF_FIGURES)
