"""Prices in words, for pages, and what differs between two sets of prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from billing.pricing.lists.kinds import COMPONENTS, FIELDS, WORDS, components_of
from billing.pricing.lists.prices import Price, items_in, price_key
from billing.pricing.rating import case
from customers.connections.catalogue import offering_label
from portal.formats import money_text, number_text


@dataclass(frozen=True)
class PriceLine:
    """One component: its amount in words, and below it the settings that are not the default."""

    component: str
    label: str
    text: str
    details: list[str] = field(default_factory=list)
    codes: str = ""


@dataclass(frozen=True)
class ItemLines:
    """The lines of one item of a list, such as a package with its base fee and overage."""

    offering: str
    item: str
    label: str
    lines: list[PriceLine]


@dataclass(frozen=True)
class FieldChange:
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class PriceChange:
    """Difference of one component. `kind` is "plus", "minus" or "changed"."""

    kind: str
    label: str
    component: str
    before: str
    after: str
    fields: list[FieldChange] = field(default_factory=list)


def name_of(offering: str) -> str:
    return offering_label(offering) if offering else _("Every account")


def items_of_prices(prices: Sequence[Price], currency: str) -> list[ItemLines]:
    by_key = {price_key(price): price for price in prices}
    found = []
    for offering, item in items_in(prices):
        own = [by_key[offering, each] for each in components_of(item) if (offering, each) in by_key]
        found.append(ItemLines(offering, item, name_of(offering), [line_of(price, currency) for price in own]))
    return found


def line_of(price: Price, currency: str) -> PriceLine:
    codes = [price[name] for name in ("account_code", "tax_code") if price[name]]
    component = price["component"]
    return PriceLine(
        component=component,
        label=str(COMPONENTS[component]),
        text=price_text(price, currency),
        details=_details(price),
        codes=", ".join(codes),
    )


def price_text(price: Price, currency: str) -> str:
    """Return a price as a sentence without its settings."""
    if price["component"] == case.OVERAGE:
        return "; ".join(_overage_parts(price, currency))
    amount = money_text(Decimal(price["amount"]), currency)
    if price["component"] == case.BASE:
        return _("%(amount)s per billing period") % {"amount": amount}
    words = {"amount": amount, "n": number_text(price["included"])}
    if price["component"] == case.ONE_TIME:
        return (
            _("%(amount)s once per unit, %(n)s included") if price["included"] else _("%(amount)s once per unit")
        ) % words
    if price["included"]:
        return _("%(amount)s per unit and billing period, %(n)s included") % words
    return _("%(amount)s per unit and billing period") % words


def _overage_parts(price: Price, currency: str) -> list[str]:
    parts = [_("%(n)s emails included") % {"n": number_text(price["included"])}]
    size = price["block_size"] if price["mode"] == case.BLOCK else None
    for tier in price["tiers"]:
        words = {
            "rate": money_text(Decimal(tier["rate"]), currency),
            "per": number_text(price["per"]),
            "up_to": number_text(tier["up_to"] or 0),
        }
        if tier["up_to"] is None:
            text = _("%(rate)s per %(per)s above") if len(price["tiers"]) > 1 else _("%(rate)s per %(per)s")
        else:
            text = _("%(rate)s per %(per)s up to %(up_to)s")
        parts.append(text % words)
    if size:
        parts.append(_("in blocks of %(n)s") % {"n": number_text(size)})
    return parts


def _details(price: Price) -> list[str]:
    """Return the settings that change the amount and are not the default."""
    found = []
    if price.get("mode") == case.VOLUME:
        found.append(_("All overage at the rate of the tier reached"))
    if price.get("when_changed"):
        found.append(
            _("When the package changes: %(rule)s") % {"rule": str(WORDS["when_changed"][price["when_changed"]])}
        )
    if price.get("prorated"):
        found.append(_("Prorated by days"))
    if price.get("on_start") == case.PRORATED:
        found.append(_("First period prorated"))
    if price.get("on_close") == case.PRORATED:
        found.append(_("Last period prorated"))
    if price.get("bill_when_suspended") is False:
        found.append(_("Not billed while suspended"))
    return found


def price_changes(before: Sequence[Price], after: Sequence[Price], currency: str) -> list[PriceChange]:
    """Return what differs, price by price, in the order of a list."""
    old, new = ({price_key(price): price for price in prices} for prices in (before, after))
    order = {component: n for n, component in enumerate(COMPONENTS)}
    keys = sorted({*old, *new}, key=lambda key: (key[0], order[key[1]]))
    return [_change(old.get(key), new.get(key), key, currency) for key in keys if old.get(key) != new.get(key)]


def _change(before: Price | None, after: Price | None, key: tuple[str, str], currency: str) -> PriceChange:
    old, new = (price_text(price, currency) if price else "" for price in (before, after))
    kind = "plus" if before is None else "minus" if after is None else "changed"
    fields = _field_changes(before, after) if before and after else []
    return PriceChange(kind, name_of(key[0]), str(COMPONENTS[key[1]]), old, new, fields)


def _field_changes(before: Price, after: Price) -> list[FieldChange]:
    return [
        FieldChange(str(label), member_text(name, before.get(name)), member_text(name, after.get(name)))
        for name, label in FIELDS.items()
        if before.get(name) != after.get(name)
    ]


def member_text(name: str, value: Any) -> str:
    """Return the value of a price's member in words."""
    if value is None or value == "":
        return _("default") if name == "when_changed" else _("none")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if name == "tiers":
        return "; ".join(_tier_text(tier) for tier in value)
    if isinstance(value, int):
        return number_text(value)
    return str(WORDS.get(name, {}).get(value, value))


def _tier_text(tier: Mapping[str, Any]) -> str:
    if tier["up_to"] is None:
        return _("%(rate)s above") % {"rate": tier["rate"]}
    return _("%(rate)s up to %(up_to)s") % {"rate": tier["rate"], "up_to": number_text(tier["up_to"])}
