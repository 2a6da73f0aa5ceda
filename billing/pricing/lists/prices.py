"""The prices of a version in the form of a rating case, and the flat fields of one item that a form edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from billing.pricing.amounts import MOST_TIERS, canonical_amount
from billing.pricing.lists.kinds import COMPONENTS, components_of, item_of
from billing.pricing.rating import case
from billing.pricing.rating.case_json import MEMBERS, PRICE
from billing.pricing.rating.checks import check_tiers
from billing.pricing.rating.json_form import REQUIRED, CaseError
from portal.refusals import Refusal

Price = dict[str, Any]
Fields = dict[str, Any]
MOST_PRICES = 5_000
# Fields of an item whose component is the second of a package: account and tax code stand in the form twice.
_OF_OVERAGE = {"account_code": "overage_account_code", "tax_code": "overage_tax_code"}


def checked_prices(prices: Sequence[Price]) -> list[Price]:
    """Return the prices in full and in the order of a list: every member written out, offerings by name.

    Raises:
        Refusal: A price is not well formed, or an offering has one for the same component twice.
    """
    if len(prices) > MOST_PRICES:
        raise Refusal(_("A price list can have up to %(n)d prices.") % {"n": MOST_PRICES})
    checked: dict[tuple[str, int], Price] = {}
    order = {component: n for n, component in enumerate(COMPONENTS)}
    for n, price in enumerate(prices):
        try:
            found = PRICE.read(price, f"prices[{n}]")
            if isinstance(found, case.OveragePrice):
                check_tiers(found, f"prices[{n}]")
        except CaseError as error:
            raise Refusal(str(error)) from None
        key = (found.offering, order[found.component])
        if key in checked:
            words = {"component": COMPONENTS[found.component], "offering": found.offering or _("Every account")}
            raise Refusal(_("%(offering)s has two prices for %(component)s. Remove one.") % words)
        checked[key] = {name: _plain(name, value) for name, value in PRICE.write(found).items()}
    return [checked[key] for key in sorted(checked)]


def _plain(name: str, value: Any) -> Any:
    """Write amounts and rates without zeros at the end, so that the same price is the same text."""
    if name == "amount":
        return canonical_amount(value)
    if name == "tiers":
        return [each | {"rate": canonical_amount(each["rate"])} for each in value]
    return value


def price_key(price: Price) -> tuple[str, str]:
    return price["offering"], price["component"]


def items_in(prices: Iterable[Price]) -> list[tuple[str, str]]:
    """Return the offering and item of the prices, each once and in their order."""
    return list(dict.fromkeys((price["offering"], item_of(price["component"])) for price in prices))


def item_fields(prices: Iterable[Price], offering: str, item: str) -> Fields:
    """Return the fields of an item as a form shows them: names and JSON values, None for what has no price."""
    found = {price["component"]: price for price in prices if price["offering"] == offering}
    fields: Fields = {"offering": offering}
    for component in components_of(item):
        price = found.get(component, {})
        for member in MEMBERS[component]:
            if member == "tiers":
                fields |= _tier_fields(price.get("tiers", []))
            else:
                fields[field_name(component, member)] = price.get(member, default_of(component, member))
    return fields


def default_of(component: str, member: str) -> Any:
    default = MEMBERS[component][member].default
    return None if default is REQUIRED else default


def field_name(component: str, member: str) -> str:
    return _OF_OVERAGE.get(member, member) if component == case.OVERAGE else member


def _tier_fields(tiers: Sequence[Mapping[str, Any]]) -> Fields:
    fields: Fields = {}
    for n in range(MOST_TIERS):
        tier = tiers[n] if n < len(tiers) else {}
        fields |= {f"up_to_{n + 1}": tier.get("up_to"), f"rate_{n + 1}": tier.get("rate")}
    return fields


def with_fields(prices: Sequence[Price], offering: str, item: str, fields: Fields) -> list[Price]:
    """Return the prices with those of one item replaced by these fields. A component of which nothing was entered is
    left out. Raises `Refusal`."""
    components = components_of(item)
    others = [each for each in prices if (each["offering"], item_of(each["component"])) != (offering, item)]
    own = [
        {"offering": fields["offering"], "component": component, **_members(component, fields)}
        for component in components
        if _is_entered(component, fields)
    ]
    if not own:
        raise Refusal(_("Enter a price."), field="amount")
    if (fields["offering"], item) != (offering, item) and (fields["offering"], item) in items_in(others):
        raise Refusal(_("This offering already has a price of this kind in the draft."), field="offering")
    return checked_prices([*others, *own])


def _is_entered(component: str, fields: Fields) -> bool:
    if component == case.OVERAGE:
        return fields.get("included") is not None or fields.get("rate_1") is not None
    return fields.get("amount") is not None


def _members(component: str, fields: Fields) -> Price:
    members = {}
    for member in MEMBERS[component]:
        value = tiers_of(fields) if member == "tiers" else fields.get(field_name(component, member))
        members[member] = default_of(component, member) if value is None else value
    if component == case.OVERAGE:
        members["included"] = members["included"] or 0
        if members["mode"] != case.BLOCK:
            members["block_size"] = None
    return members


def tiers_of(fields: Fields) -> list[dict[str, Any]]:
    """Return the tiers that were entered. Raises `Refusal`, at the field of the first one that doesn't fit."""
    entered = [(n, fields.get(f"up_to_{n}"), fields.get(f"rate_{n}")) for n in range(1, MOST_TIERS + 1)]
    used = [each for each in entered if each[1:] != (None, None)]
    before = 0
    for place, (n, up_to, rate) in enumerate(used):
        if rate is None:
            raise Refusal(_("Enter the rate of this tier."), field=f"rate_{n}")
        if place == len(used) - 1:
            if up_to is not None:
                raise Refusal(_("The last tier has no upper bound. Leave it empty."), field=f"up_to_{n}")
        elif up_to is None:
            raise Refusal(_("Enter the upper bound. Only the last tier has none."), field=f"up_to_{n}")
        elif up_to <= before:
            raise Refusal(_("Enter a bound above the one before."), field=f"up_to_{n}")
        elif fields.get("mode") == case.BLOCK and fields.get("block_size") and up_to % fields["block_size"]:
            raise Refusal(_("Enter a multiple of the block size."), field=f"up_to_{n}")
        before = up_to or before
    return [{"up_to": up_to, "rate": rate} for _n, up_to, rate in used]


def is_priced_item(prices: Iterable[Price], offering: str, item: str) -> bool:
    return (offering, item) in items_in(prices)


def without_item(prices: Iterable[Price], offering: str, item: str) -> list[Price]:
    return [each for each in prices if (each["offering"], item_of(each["component"])) != (offering, item)]
