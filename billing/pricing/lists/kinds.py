"""Kinds of prices: components, and the items whose components are edited together."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.pricing.rating import case
from portal.providers import CAPABILITIES

Labels = dict[str, str | Promise]

# In the order of a statement's lines.
COMPONENTS: Labels = {
    case.BASE: _("Base fee"),
    case.OVERAGE: _("Overage"),
    case.ADDON: _("Add-on"),
    case.DEDICATED_IP: _("Dedicated IP"),
    case.ONE_TIME: _("One-time charge"),
}
PACKAGE = "package"
ITEMS: Labels = {
    PACKAGE: _("Package"),
    case.ADDON: _("Add-on"),
    case.DEDICATED_IP: _("Dedicated IP"),
    case.ONE_TIME: _("One-time charge"),
}
# The offering of a provider that has none: its price is that of every account.
EVERY_ACCOUNT = ""

EDGES: Labels = {case.FULL: _("Full period"), case.PRORATED: _("Prorated by days")}
MODES: Labels = {
    case.GRADUATED: _("Graduated: each tier at its own rate"),
    case.VOLUME: _("Volume: all units at the rate of the tier reached"),
    case.BLOCK: _("Block: per started block"),
}
WHEN_CHANGED: Labels = {
    case.LAST: _("Package of the last day"),
    case.HIGHEST: _("Highest allotment"),
    case.PRORATED: _("Prorated by days"),
    case.INCURRED: _("Overage stays as incurred"),
}
# Labels of the members of a price, in the order of a page.
FIELDS: Labels = {
    "amount": _("Amount"),
    "included": _("Included"),
    "mode": _("Tier mode"),
    "per": _("Rates are per"),
    "block_size": _("Block size"),
    "tiers": _("Tiers"),
    "when_changed": _("When the package changes"),
    "prorated": _("Prorated"),
    "on_start": _("First period"),
    "on_close": _("Last period"),
    "bill_when_suspended": _("Billed while suspended"),
    "account_code": _("Account code"),
    "tax_code": _("Tax code"),
}
# Labels of the members' codes.
WORDS: dict[str, Labels] = {"mode": MODES, "when_changed": WHEN_CHANGED, "on_start": EDGES, "on_close": EDGES}


def components_of(item: str) -> tuple[str, ...]:
    return (case.BASE, case.OVERAGE) if item == PACKAGE else (item,)


def item_of(component: str) -> str:
    return PACKAGE if component in (case.BASE, case.OVERAGE) else component


def items_of(provider_kind: str) -> dict[str, str]:
    """Return the items that a provider's price list can have, with their labels. Accounts of a provider without
    offerings have one package and nothing else."""
    has_offerings = provider_kind not in CAPABILITIES or CAPABILITIES[provider_kind].offerings
    return {item: str(label) for item, label in ITEMS.items() if has_offerings or item == PACKAGE}


def has_offerings(provider_kind: str) -> bool:
    return len(items_of(provider_kind)) > 1


def provider_label(provider_kind: str) -> str:
    return CAPABILITIES[provider_kind].label if provider_kind in CAPABILITIES else provider_kind
