"""Words of our audit events: labels as the forms show them, and the objects with their pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.formats import date_format
from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.closing.blockers.kinds import KINDS as BLOCKERS
from billing.models import ConnectionBilling, InvoiceLineKind, Side, UsageExport
from billing.pricing.contracts.wording import days_text, percent_of
from billing.pricing.lists.kinds import COMPONENTS, FIELDS
from billing.pricing.statements.amounts import minor_text
from portal.audit import words
from portal.audit.words import ObjectKind
from portal.formats import money_text, number_text

_NAMES: dict[str, words.Text] = {
    "accepted": _("Accepted difference"),
    "accounting_reference": _("Accounting reference"),
    "account_text": _("Account on the invoice"),
    "accrued_account_code": _("Account code of accrued revenue"),
    "amount_minor": _("Amount"),
    "anomalies": _("Findings"),
    "at_most": _("Emails (most)"),
    "before": _("Emails before"),
    "blockers": _("Blockers"),
    "commit": _("Minimum commit per month"),
    "commit_prorated": _("Prorate by days in the first month"),
    "compared_file": _("Compared file"),
    "cost_list": _("Cost price list"),
    "cost_source": _("Cost"),
    "decision": _("Decision"),
    "default_account_code": _("Default account code"),
    "due_on": _("Due date"),
    "end_on": _("Service until"),
    "first_day": _("First day"),
    "first_number": _("First statement number"),
    "grace_days": _("Days until a month is in review"),
    "head": _("Head of the chain of months"),
    "held_back": _("Held back"),
    "invoice.line_added:kind": _("Kind"),
    "invoice.line_edited:kind": _("Kind"),
    "invoice.line_removed:kind": _("Kind"),
    "is": _("Is worth"),
    "issued_on": _("Invoice date"),
    "items": _("Results"),
    "last_day": _("Last day"),
    "last_number": _("Last statement number"),
    "ledger_batch": _("Ledger batch"),
    "number": _("Invoice number"),
    "number_prefix": _("Prefix of statement numbers"),
    "one": _("One unit of"),
    "prices": _("Prices"),
    "prices_of_version": _("Prices copied from version"),
    "provider_kind": _("Provider"),
    "purchase_order": _("Purchase order"),
    "reported": _("Reported now"),
    "row": _("Row"),
    "run": _("Run"),
    "start_on": _("Service from"),
    "starts_on": _("Billing starts on"),
    "tolerance_minor": _("Tolerance of invoices"),
    "unmatched": _("Not matched"),
    "used": _("Emails"),
    "valid_from": _("First day"),
    "valid_until": _("Last day"),
    "with_cost": _("With cost"),
    "written": _("Account on the invoice"),
    "zone": _("Billing time zone"),
}
for _verb in ("assigned", "accepted", "reopened"):
    _NAMES[f"blocker.{_verb}:kind"] = _("Blocker")


def _amount(value: Any, facts: Mapping[str, Any]) -> str:
    """Return an amount with the currency of the event, where that has one."""
    try:
        amount, currency = Decimal(str(value)), facts.get("currency")
    except InvalidOperation:
        return str(value)
    return money_text(amount, str(currency)) if currency else number_text(amount)


def _minor(value: Any, facts: Mapping[str, Any]) -> str:
    currency = facts.get("currency")
    return minor_text(int(value), str(currency)) if currency else number_text(int(value))


def _discount(value: Any, _facts: Mapping[str, Any]) -> str:
    """Return "10% of Overage and Base fee, from 1 Aug 2026"."""
    if not isinstance(value, Mapping) or "percent" not in value:
        return str(value)
    kinds = get_text_list([str(COMPONENTS.get(kind, kind)) for kind in value.get("kinds", ())], gettext("and"))
    share = gettext("%(percent)s of %(kinds)s") % {"percent": percent_of(value), "kinds": kinds}
    return ", ".join(part for part in (share, days_text({"valid_from": None, "valid_until": None, **value})) if part)


def _override(value: Any, facts: Mapping[str, Any]) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(
        f"{words.fact_label(str(name))}: {words.text_of(held, str(name), facts)}" for name, held in value.items()
    )


def _offering(value: Any, _facts: Mapping[str, Any]) -> str:
    return words.offering_words(str(value))


def _name(name: str) -> str | None:
    """Read the name of a contract's price list, and "postkeeper.ei.pro-100k.v1, Base fee: amount" of a price."""
    if name.startswith("list_"):
        provider = words.text_of(name.removeprefix("list_"), "provider_kind", {})
        return gettext("Price list for %(provider)s") % {"provider": provider}
    price, colon, member = name.rpartition(": ")
    offering, comma, component = (price if colon else name).rpartition(", ")
    if not comma or component not in map(str, COMPONENTS.values()):
        return None
    label = words.offering_words(offering)
    about = label if label == component else f"{label}, {component}"
    return f"{about}: {str(FIELDS.get(member, member)).lower()}" if colon else about


def _month_first(label: str) -> str:
    """Return "October 2026, run 2" for "2026-10 closing 2"."""
    month, _space, n = label.partition(" closing ")
    words_of_month = _month(month)
    return gettext("%(month)s, run %(n)s") % {"month": words_of_month, "n": n} if words_of_month and n else label


def _statement(label: str) -> str:
    """Return "November 2026, USD" for "sell 2026-11 USD"."""
    _side, _space, rest = label.partition(" ")
    month, _space, currency = rest.partition(" ")
    return ", ".join(part for part in (_month(month) or label, currency) if part)


def _month(text: str) -> str:
    try:
        return date_format(date.fromisoformat(f"{text}-01"), "F Y")
    except ValueError:
        return ""


def _contract(label: str) -> str:
    """Return "Contract 2": what stands before is the customer's number in the database."""
    return gettext("Contract %(n)s") % {"n": label.rpartition(" ")[2]}


OBJECTS = {
    "billing.pricelist": ObjectKind(_("Price list"), "billing:price-list"),
    "billing.contract": ObjectKind(_("Contract"), "billing:contract", _contract),
    "billing.statement": ObjectKind(_("Statement"), "billing:statement", _statement),
    "billing.providerinvoice": ObjectKind(_("Provider invoice"), "billing:provider-invoice"),
    "billing.parallelmonth": ObjectKind(_("Parallel month"), "billing:parallel-month"),
    "billing.usageexport": ObjectKind(_("Usage export"), "billing:usage-export-detail"),
    "billing.syncrun": ObjectKind(_("Usage sync"), "billing:run", lambda label: label.rsplit(" ", 2)[0]),
    "billing.monthclosing": ObjectKind(_("Month close"), text=_month_first),
}


def register_billing_words() -> None:
    """Register our words; called once, when the models are loaded."""
    words.add_names(_NAMES)
    words.add_name_reader(_name)
    words.add_formats(
        {
            "accepted": _amount,
            "amount": _amount,
            "amount_minor": _minor,
            "commit": _amount,
            "discount": _discount,
            "offering": _offering,
            "override": _override,
            "tolerance_minor": _minor,
            "total": _amount,
        }
    )
    words.add_labels(
        {
            "cost_source": dict(ConnectionBilling.CostSource.choices),
            "format": dict(UsageExport.Format.choices),
            "kind": {**BLOCKERS, **dict(InvoiceLineKind.choices)},
            "provider_kind": words.labels_of("kind"),
            "side": dict(Side.choices),
        }
    )
    words.add_objects(OBJECTS)
