"""Quotes: what offerings cost per month by the contract that is in force today.

    quoter = Quoter([customer.pk], today=today)
    quote = quoter.monthly(customer.pk, connection.kind, items)

The engine of statements rates a whole billing period with these offerings, so a quote has the same prices, overrides,
discounts and rounding. Usage is not part of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _

from billing.models import PriceList, PriceVersion, Side
from billing.pricing.rating.books import CustomerPrices, NoPrices, PriceBooks
from billing.pricing.rating.case import (
    ONE_TIME,
    SELL,
    ComponentPrice,
    ContractTerms,
    HeldItem,
    OfferingSpan,
    OveragePrice,
    RatedAccount,
    RatedPeriod,
    StateSpan,
)
from billing.pricing.rating.engine import rate_account
from billing.pricing.rating.lines import RatedLine
from billing.pricing.statements.agreements import Agreement, PriceCatalog, agreements_of
from billing.pricing.statements.amounts import minor_text, places_of
from billing.pricing.statements.span_days import FIRST_DAY
from customers.connections.catalogue import offering_label
from customers.models.account import AccountState
from portal import formats
from portal.providers import ProviderOffering

Items = tuple[tuple[str, int], ...]
# The days of the period that is rated. Whatever their number, a whole period has the full price.
_DAYS = timedelta(days=29)


@dataclass(frozen=True, slots=True)
class PriceBasis:
    """The source of a customer's prices: the contract in force, or `default_list`, the only list there is."""

    agreement: Agreement
    default_list: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for contracts that give the same prices."""
        terms = self.agreement.terms
        return self.agreement.currency, terms.price_lists, terms.discounts, terms.overrides


@dataclass(frozen=True, slots=True)
class QuoteLine:
    kind: str
    label: str
    quantity: int
    amount_minor: int
    currency: str

    def __str__(self) -> str:
        return minor_text(self.amount_minor, self.currency)


@dataclass(frozen=True, slots=True)
class MonthlyQuote:
    """A price per month in minor units, and beside it what is charged once. `problem`: the code of why there is none.

    `unpriced` are the labels of offerings without a price: the total leaves them out. `default_list` names the price
    list of a customer without a contract.
    """

    currency: str = ""
    total_minor: int = 0
    once_minor: int = 0
    lines: Sequence[QuoteLine] = ()
    unpriced: Sequence[str] = ()
    overage: str = ""
    included: int | None = None
    when_changed: str = ""
    problem: str = ""
    default_list: str = ""
    commit: str = ""

    @property
    def is_whole(self) -> bool:
        return not self.problem and not self.unpriced

    @property
    def is_unpriced(self) -> bool:
        """Tell if nothing of it has a price."""
        return not self.problem and bool(self.unpriced) and not self.lines

    @property
    def total(self) -> str:
        return minor_text(self.total_minor, self.currency)

    @property
    def once(self) -> str:
        return minor_text(self.once_minor, self.currency) if self.once_minor else ""


@dataclass(frozen=True, slots=True)
class QuoteChange:
    """Two quotes of an account, and the difference per month, if both are in one currency and whole."""

    now: MonthlyQuote
    after: MonthlyQuote

    @property
    def is_whole(self) -> bool:
        return self.now.is_whole and self.after.is_whole and self.now.currency == self.after.currency

    @property
    def moved_minor(self) -> int:
        return self.after.total_minor - self.now.total_minor

    @property
    def moved(self) -> str:
        return minor_text(self.moved_minor, self.after.currency, signed=True)


@dataclass(slots=True)
class Quoter:
    """Quotes for the customers (pk) given, on a day. Reads contracts and lists in four queries, whatever their number;
    default lists, for customers without a contract, in two more for each provider."""

    customers: Collection[int]
    today: date
    catalog: PriceCatalog = field(default_factory=PriceCatalog)
    _in_force: dict[int, Agreement] = field(default_factory=dict)
    _defaults: dict[str, PriceBasis | None] = field(default_factory=dict)
    _books: dict[tuple[str, tuple[str, ...]], PriceBooks] = field(default_factory=dict)
    _prices: dict[tuple[object, ...], CustomerPrices] = field(default_factory=dict)
    _found: dict[tuple[object, ...], MonthlyQuote] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for customer, agreements in agreements_of(self.customers, until=self.today).items():
            current = next((each for each in agreements if each.holds_on(self.today)), None)
            if current:
                self._in_force[customer] = current
        self.catalog.load(name for each in self._in_force.values() for name in each.terms.price_lists)

    def basis(self, customer: int | None, kind: str) -> PriceBasis | None:
        """Return what the customer's prices come from; of one without a contract, the only sell list of the provider
        that is in force, and None if there is none or several."""
        agreement = self._in_force.get(customer or 0)
        return PriceBasis(agreement) if agreement else self._default(kind)

    def _default(self, kind: str) -> PriceBasis | None:
        if kind not in self._defaults:
            published = PriceVersion.objects.filter(published_at__isnull=False, valid_from__lte=self.today)
            rows = PriceList.objects.filter(
                side=Side.SELL, provider_kind=kind, archived_at=None, pk__in=published.values("price_list")
            )
            found = list(rows[:2])
            basis = None
            if len(found) == 1:
                public_id = str(found[0].public_id)
                self.catalog.load([public_id])
                terms = ContractTerms("", FIRST_DAY, None, (public_id,))
                basis = PriceBasis(Agreement(0, found[0].currency, terms), found[0].name)
            self._defaults[kind] = basis
        return self._defaults[kind]

    def monthly(
        self,
        customer: int | None,
        kind: str,
        items: Items,
        *,
        state: str = AccountState.ACTIVE,
        has_offerings: bool = True,
        is_new: bool = False,
    ) -> MonthlyQuote:
        """Return the price of an account at a provider (kind) with these offerings, in this state all month."""
        basis = self.basis(customer, kind)
        if basis is None:
            return MonthlyQuote(problem="no_contract")
        key = (basis.key, basis.default_list, kind, items, state, has_offerings, is_new)
        if key not in self._found:
            self._found[key] = self._quoted(basis, kind, items, state, has_offerings=has_offerings, is_new=is_new)
        commit = basis.agreement.terms.commit
        if commit is None:
            return self._found[key]
        amount = formats.money_text(commit.amount, basis.agreement.currency)
        return replace(self._found[key], commit=amount)

    def _quoted(
        self, basis: PriceBasis, kind: str, items: Items, state: str, *, has_offerings: bool, is_new: bool
    ) -> MonthlyQuote:
        currency = basis.agreement.currency
        empty = MonthlyQuote(currency=currency, default_list=basis.default_list)
        prices = self._customer_prices(basis)
        try:
            book = prices.at(kind, self.today)
        except NoPrices as error:
            return replace(empty, problem=error.code)
        held = tuple(HeldItem(name, quantity) for name, quantity in items)
        account = RatedAccount(
            id="quote",
            name="",
            provider=kind,
            created_on=self.today if is_new else None,
            offerings=(OfferingSpan(FIRST_DAY, held),) if has_offerings else (),
            states=(StateSpan(FIRST_DAY, state),),
            periods=(RatedPeriod(self.today, self.today + _DAYS, used=0),),
        )
        lines, findings = rate_account(account, prices, (self.today + _DAYS).replace(day=1))
        places = places_of(currency)
        packages = [
            (charges.overage.price, quantity)
            for name, quantity in (items or (("", 1),))
            if (charges := book.charges(name)) and charges.overage
        ]
        overage = _overage(packages, currency)
        return replace(
            empty,
            total_minor=sum(_minor(each.amount, places) for each in lines if each.kind != ONE_TIME),
            once_minor=sum(_minor(each.amount, places) for each in lines if each.kind == ONE_TIME),
            lines=[_line(each, currency, places) for each in lines if each.kind != ONE_TIME],
            unpriced=[_label(each.details["offering"]) for each in findings if each.code == "unpriced"],
            **overage,
        )

    def _customer_prices(self, basis: PriceBasis) -> CustomerPrices:
        if basis.key not in self._prices:
            terms, currency = basis.agreement.terms, basis.agreement.currency
            shared = (currency, terms.price_lists)
            if shared not in self._books:
                self._books[shared] = PriceBooks(SELL, currency, self.catalog.of(terms.price_lists))
            self._prices[basis.key] = CustomerPrices(self._books[shared], [terms])
        return self._prices[basis.key]


def items_of_offerings(offerings: Iterable[ProviderOffering]) -> Items:
    """Return names and quantities, each name once."""
    held: dict[str, int] = {}
    for each in offerings:
        held[each.name] = held.get(each.name, 0) + each.quantity
    return tuple(held.items())


def _minor(amount: Decimal, places: int) -> int:
    return int(amount.scaleb(places))


def _label(name: str) -> str:
    return offering_label(name) if name else _("Every account")


def _line(line: RatedLine, currency: str, places: int) -> QuoteLine:
    return QuoteLine(line.kind, _label(line.offering), line.quantity, _minor(line.amount, places), currency)


def _overage(packages: Sequence[tuple[ComponentPrice, int]], currency: str) -> dict[str, Any]:
    """Return the included volume and the overage rate of the package, if there is exactly one."""
    if len(packages) != 1:
        return {}
    price, quantity = packages[0]
    if not isinstance(price, OveragePrice):
        return {}
    rate = formats.money_text(Decimal(f"{price.tiers[0].rate.normalize():f}"), currency)
    words = {"rate": rate, "per": formats.number_text(price.per)}
    if len(price.tiers) > 1:
        text = _("%(rate)s per %(per)s emails at first") % words
    else:
        text = _("%(rate)s per %(per)s emails") % words
    return {"overage": text, "included": price.included * quantity, "when_changed": price.when_changed or "last"}
