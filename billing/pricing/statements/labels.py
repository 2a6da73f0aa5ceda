"""Texts of findings and line kinds for pages and files: what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class FindingLabel:
    """`title`: the finding as a heading of a worklist; `sentence`: what it means; `action`: what to do next."""

    title: str | Promise
    sentence: str | Promise
    action: str | Promise
    is_noted: bool = False


# By code, in the order of urgency. The codes of the engine are listed in docs/reference/rating-case.md.
FINDINGS: dict[str, FindingLabel] = {
    "no_contract": FindingLabel(
        _("No contract"),
        _("No contract was in force on the first day of the billing period, so nothing is billed."),
        _("Add a contract that begins on that day or earlier."),
    ),
    "no_price_list": FindingLabel(
        _("No price list for the provider"),
        _("The contract names no price list of this account's provider, so nothing is billed."),
        _("Add a price list of the provider to the contract."),
    ),
    "unpriced": FindingLabel(
        _("Offering without a price"),
        _("The price list has no price for an offering that the account has, so it isn't billed."),
        _("Add a price for the offering to the price list, at 0 if it is free."),
    ),
    "overage_unpriced": FindingLabel(
        _("Overage without a price"),
        _("The account sent email, and no package with an overage price was in force."),
        _("Add an overage price to the package."),
    ),
    "several_packages": FindingLabel(
        _("Several packages"),
        _("Several offerings of the account have an overage price, so no overage is billed."),
        _("Keep the overage price of one of these offerings."),
    ),
    "adjustment_undecided": FindingLabel(
        _("Late figure to decide"),
        _("The usage of a closed month changed, and isn't exact. It isn't adjusted until it is."),
        _("Open the figure and decide what to bill."),
    ),
    "missing": FindingLabel(
        _("No usage data"),
        _("The usage of the billing period isn't known. Overage isn't billed until it is."),
        _("Open the figure and decide what to bill."),
    ),
    "never_read": FindingLabel(
        _("Billing period never read"),
        _("Usage was never read in this billing period. Its dates follow from the one before."),
        _("Start a usage sync, or decide the figure."),
    ),
    "disputed": FindingLabel(
        _("Usage to decide"),
        _("The provider's values contradict each other."),
        _("Decide the figure."),
    ),
    "open_ended": FindingLabel(
        _("Maximum not known"),
        _("Nothing limits the usage of the billing period, so the amount has no maximum."),
        _("Open the figure and decide what to bill."),
    ),
    "usage_at_change_unknown": FindingLabel(
        _("Usage at a package change not known"),
        _("The usage on the day of the change lies between two readings. Both ends are rated."),
        _("Decide the figure if the difference matters."),
    ),
    "not_final": FindingLabel(
        _("Billing period not final"),
        _("The billing period hasn't ended, or its usage can still change. The amount is the one so far."),
        _("Wait until the figure is final."),
    ),
    "usage_without_account": FindingLabel(
        _("Usage without an account"),
        _("Usage was reported for a period in which the account did not exist."),
        _("Check the dates of creation and deletion."),
    ),
    "offerings_unknown": FindingLabel(
        _("Offerings not known at first"),
        _("What the account had in the first days of the billing period isn't known, and isn't billed."),
        _("Check the account's timeline."),
    ),
    "owner_unknown": FindingLabel(
        _("Customer at the period's end not known"),
        _("The account moved between customers, and the audit log does not tell who owned it before."),
        _("Check the account's timeline."),
    ),
    "no_cost_source": FindingLabel(
        _("Connection without a cost source"),
        _("What the provider charges for this connection isn't known, so its cost and margin are missing."),
        _("Select a cost price list or the shared invoice in the connection's billing settings."),
    ),
    "no_report": FindingLabel(
        _("No report of the shared invoice"),
        _("The connection's cost is a shared invoice, and no report of this month was read."),
        _("Start a usage sync of the connection."),
    ),
    "report_differs": FindingLabel(
        _("Shared invoice doesn't add up"),
        _("The provider's total differs from the sum of its parts. The difference is a line of its own."),
        _("Open the connection's pool and decide about the report."),
    ),
    "interval": FindingLabel(
        _("Interval"),
        _("The usage lies between two numbers. Both ends are rated."),
        _("Decide the figure if the difference matters."),
        is_noted=True,
    ),
    "allowed_differs": FindingLabel(
        _("Quota differs from the price list"),
        _("The provider's quota is another one than the included volume of the price list. The price list is billed."),
        _("Correct the included volume, or the package at the provider."),
        is_noted=True,
    ),
    "uncertain_day": FindingLabel(
        _("Day of a package change not certain"),
        _("The offerings changed between two readings of different days. The later day is billed."),
        _("Check the account's timeline."),
        is_noted=True,
    ),
    "uncertain_state_day": FindingLabel(
        _("Day of a state change not certain"),
        _("The state changed between two readings of different days. The later day is billed."),
        _("Check the account's timeline."),
        is_noted=True,
    ),
}
# Findings of the cost side, which only those see who may see cost.
OF_COST = frozenset({"no_cost_source", "no_report", "report_differs"})
EXACTNESS: dict[str, str | Promise] = {
    "exact": _("Exact"),
    "at_least": _("At least"),
    "no_contract": _("No contract"),
}


def finding_label(code: str) -> FindingLabel:
    """Return the texts of a finding; an unlisted one has its code."""
    words = code.replace("_", " ").capitalize()
    return FINDINGS.get(code) or FindingLabel(words, words, "")
