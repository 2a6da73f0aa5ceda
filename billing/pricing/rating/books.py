"""Price books: what each component costs an account whose period begins on a day.

`PriceBooks` is made once per side and currency and shared by all customers. `CustomerPrices` adds one customer's
contracts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, cast

from billing.pricing.rating import case as inputs
from billing.pricing.rating.case_json import OVERRIDE
from billing.pricing.rating.checks import is_valid
from billing.pricing.rating.currency import billionths, minor_unit_places


@dataclass(frozen=True, slots=True)
class Charge:
    """One component's price with the customer's overrides and discount.

    `rates` is the amount in billionths (of overage that of each tier), `percent` the discount in billionths of a
    percent, and `origin` what a line says about where its price comes from.
    """

    price: inputs.ComponentPrice
    version: str
    rates: tuple[int, ...]
    percent: int
    discount: Decimal | None
    origin: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OfferingCharges:
    base: Charge | None
    addons: tuple[Charge, ...]
    overage: Charge | None
    one_time: Charge | None


class NoPrices(Exception):
    """No contract or no price list applies; `code` is that of the finding."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


Priced = dict[str, tuple[inputs.ListVersion, list[inputs.ComponentPrice]]]


class PreparedList:
    """A price list whose versions are resolved: an offering that a version lacks is that of the first later version."""

    def __init__(self, prices: inputs.ListPrices) -> None:
        self.id, self.provider = prices.id, prices.provider
        self._starts = [version.valid_from for version in prices.versions]
        self._resolved: list[Priced] = []
        later: Priced = {}
        for version in reversed(prices.versions):
            own: Priced = {}
            for price in version.prices:
                own.setdefault(price.offering, (version, []))[1].append(price)
            later = {**later, **own}
            self._resolved.append(later)
        self._resolved.reverse()

    def at(self, day: date) -> Priced:
        """Return the prices on a day. Before the first version, the first one that has an offering counts."""
        if not self._resolved:
            return {}
        return self._resolved[max(0, bisect_right(self._starts, day) - 1)]


class PriceBooks:
    """The price lists of one side and currency."""

    def __init__(self, side: str, currency: str, price_lists: Iterable[inputs.ListPrices]) -> None:
        self.side, self.currency, self.places = side, currency, minor_unit_places(currency)
        self.lists = {each.id: PreparedList(each) for each in price_lists}


class CustomerPrices:
    """The prices of one customer: the price books and the contracts. On the cost side there are no contracts."""

    def __init__(self, books: PriceBooks, contracts: Sequence[inputs.ContractTerms] = (), customer: str = "") -> None:
        self.books, self.customer, self._contracts = books, customer, contracts
        self._found: dict[tuple[str, date], Book | NoPrices] = {}

    def contract_on(self, day: date) -> inputs.ContractTerms | None:
        return next((each for each in self._contracts if is_valid(each, day)), None)

    def at(self, provider: str, day: date) -> Book:
        """Return the book of a period that begins on the day. Raise NoPrices."""
        key = (provider, day)
        found = self._found.get(key)
        if found is None:
            try:
                found = self._book(provider, day)
            except NoPrices as error:
                found = error
            self._found[key] = found
        if isinstance(found, NoPrices):
            raise NoPrices(found.code)
        return found

    def _book(self, provider: str, day: date) -> Book:
        contract = None
        names: Iterable[str] = self.books.lists
        if self.books.side == inputs.SELL:
            contract = self.contract_on(day)
            if contract is None:
                raise NoPrices("no_contract")
            names = contract.price_lists
        for name in names:
            prices = self.books.lists[name]
            if prices.provider == provider:
                return Book(prices, contract, day)
        raise NoPrices("no_price_list")


class Book:
    """The prices of one price list on one day, under one contract. Charges are made when first asked for."""

    def __init__(self, prices: PreparedList, contract: inputs.ContractTerms | None, day: date) -> None:
        self._list, self._priced = prices.id, prices.at(day)
        self._contract = contract.id if contract else None
        self._overrides = [each for each in contract.overrides if is_valid(each, day)] if contract else []
        self._discounts = [each for each in contract.discounts if is_valid(each, day)] if contract else []
        self._charges: dict[str, OfferingCharges | None] = {}

    def charges(self, offering: str) -> OfferingCharges | None:
        """Return the charges of an offering, or None if no version prices it."""
        if offering not in self._charges:
            self._charges[offering] = self._made(offering)
        return self._charges[offering]

    def _made(self, offering: str) -> OfferingCharges | None:
        priced = self._priced.get(offering)
        if priced is None:
            return None
        version, prices = priced
        made = {price.component: self._charge(price, version) for price in prices}
        return OfferingCharges(
            base=made.get(inputs.BASE),
            addons=tuple(made[kind] for kind in (inputs.ADDON, inputs.DEDICATED_IP) if kind in made),
            overage=made.get(inputs.OVERAGE),
            one_time=made.get(inputs.ONE_TIME),
        )

    def _charge(self, price: inputs.ComponentPrice, version: inputs.ListVersion) -> Charge:
        replaced = [
            each for each in self._overrides if (each.offering, each.component) == (price.offering, price.component)
        ]
        for override in replaced:
            price = replace(price, **cast("dict[str, Any]", dict(override.fields)))
        percent = next((each.percent for each in self._discounts if price.component in each.kinds), None)
        amounts = [tier.rate for tier in price.tiers] if isinstance(price, inputs.OveragePrice) else [price.amount]
        origin = {
            "price_list": self._list,
            "version": version.id,
            "valid_from": version.valid_from.isoformat(),
            "contract": self._contract,
            "overrides": [OVERRIDE.write(each) for each in replaced],
        }
        return Charge(
            price=price,
            version=version.id,
            rates=tuple(billionths(each) for each in amounts),
            percent=0 if percent is None else billionths(percent),
            discount=percent,
            origin=origin,
        )
