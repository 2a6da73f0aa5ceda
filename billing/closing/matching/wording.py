"""Names of a comparison's results, and the next step for each, in a sentence."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.closing.matching.clusters import EXTRA, SHARED, TOTAL
from billing.models import InvoiceLineKind, InvoiceMatch, LineKind

Result = InvoiceMatch.Result
_KINDS: dict[str, Any] = {
    **{str(code): label for code, label in LineKind.choices},
    **{str(code): label for code, label in InvoiceLineKind.choices},
    SHARED: gettext_lazy("Shared invoice"),
    EXTRA: gettext_lazy("Add-on"),
    TOTAL: gettext_lazy("Total without lines"),
}


def kind_label(kind: str) -> str:
    return str(_KINDS.get(kind, kind))


def next_step(match: InvoiceMatch, *, has_cost: bool) -> str:
    """Return what to do about a result; "" about an equal one. `has_cost`: the month has a cost in this currency."""
    if match.result == Result.EQUAL:
        return ""
    if match.kind == TOTAL:
        return _("The invoice's total differs from the sum of its lines. Add the missing line, or correct the total.")
    if match.result == Result.ONLY_OURS:
        return _not_invoiced(match)
    if match.result == Result.DIFFERENT:
        return _different(match)
    return _only_provider(match, has_cost=has_cost)


def _not_invoiced(match: InvoiceMatch) -> str:
    if match.account_id is None:
        return _("Enter the provider's invoice of this period.")
    return _("Enter the invoice that is missing. If the provider doesn't charge this, check the account's offerings.")


def _different(match: InvoiceMatch) -> str:
    if match.kind == LineKind.OVERAGE:
        return _("Compare the invoice's quantity with the account's usage, then the tiers of the cost price list.")
    if match.kind == SHARED:
        return _("Compare the invoice with the provider's last report of the period.")
    return _("Check the price in the cost price list, and the days on which the account's offerings changed.")


def _only_provider(match: InvoiceMatch, *, has_cost: bool) -> str:
    if match.kind == SHARED:
        return _("There's no report of this period. Sync the connection's usage, or check the service days.")
    if match.account_id is None and match.account_text:
        return _("No account of the connection is called that. Assign an account to the line.")
    if match.kind == InvoiceLineKind.CREDIT:
        return _("Our cost has no credits. Check it with the provider; the difference can be accepted with a reason.")
    if match.account_id is None:
        return _("The line names no account. Assign one; a difference of the whole connection can be accepted.")
    if match.cost_minor is not None:
        return _("No customer is billed for this account. Add a contract for its customer, or delete the account.")
    if not has_cost:
        return _("There's no cost in this currency. Set the cost in the connection's billing settings.")
    if match.is_billed:
        return _("Our cost doesn't have this. Check the account's offerings and the cost price list.")
    return _("Neither our cost nor a statement has this. Check the account's offerings and its customer's contract.")
