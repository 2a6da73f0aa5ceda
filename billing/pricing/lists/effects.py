"""Effect of the prices of a draft or a file on the customers' statements of the last three months."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from time import monotonic
from typing import Any

from django.db.models import Max, QuerySet

from billing.models import ContractPriceList, PriceList, Side, Statement
from billing.pricing.lists.prices import Price
from billing.pricing.rating.currency import as_amount, minor_unit_places
from billing.pricing.statements.effects import effect_of
from billing.usage.periods import month_after
from customers.models import Customer

MONTHS = 3
# Customers that are rated while a person waits, and the seconds after which no more are begun. Those with the highest
# statements of last month come first.
MOST_CUSTOMERS, MOST_SECONDS = 1_000, 15
AT_ONCE = 50
MOST_SHOWN = 50


@dataclass
class CustomerEffect:
    """Amounts of one customer or of all, in the list's currency; `is_least`: some can be more, `unpriced`: offerings
    that have no price with the changed prices."""

    customer: Customer | None = None
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    is_least: bool = False
    unpriced: int = 0
    months: set[Any] = field(default_factory=set)

    @property
    def moved(self) -> Decimal:
        return self.after - self.before

    def add(self, effect: Any, places: int) -> None:
        self.before += as_amount(effect.before_minor, places)
        self.after += as_amount(effect.after_minor, places)
        exact = effect.before_high_minor is None and effect.after_high_minor is None and not effect.open_ended
        self.is_least |= not exact
        self.unpriced = max(self.unpriced, effect.unpriced_after - effect.unpriced_before)
        self.months.add(effect.month)


@dataclass(frozen=True)
class PriceEffect:
    """`rows`: the customers that would have paid another amount, the largest change first; `more` are not shown.
    `rated` of `customers` that have the list in a contract were calculated."""

    total: CustomerEffect
    rows: list[CustomerEffect]
    more: int
    unchanged: int
    rated: int
    customers: int
    currency: str

    @property
    def is_partial(self) -> bool:
        return self.rated < self.customers


def price_effect(prices: Sequence[Price], price_list: PriceList, *, now: datetime) -> PriceEffect:
    """Rate the last three months of the list's customers with the prices as they are and with `prices`."""
    chosen, count = customers_of(price_list, now=now)
    places = minor_unit_places(price_list.currency)
    by_customer: dict[int, CustomerEffect] = {}
    total = CustomerEffect()
    rated, until = 0, monotonic() + MOST_SECONDS
    for group in _batches(chosen, AT_ONCE):
        for effect in effect_of(list(prices), price_list, months=MONTHS, now=now, customers=group):
            if effect.currency == price_list.currency:
                by_customer.setdefault(effect.customer_id, CustomerEffect()).add(effect, places)
                total.add(effect, places)
        rated += len(group)
        if monotonic() > until:
            break
    changed = {key: row for key, row in by_customer.items() if row.moved or row.unpriced}
    ordered = sorted(changed.items(), key=lambda each: (-abs(each[1].moved), each[0]))
    shown = _named(ordered[:MOST_SHOWN])
    return PriceEffect(
        total=total,
        rows=shown,
        more=len(ordered) - len(shown),
        unchanged=len(by_customer) - len(changed),
        rated=rated,
        customers=count,
        currency=price_list.currency,
    )


def _named(rows: Iterable[tuple[int, CustomerEffect]]) -> list[CustomerEffect]:
    found = list(rows)
    customers = Customer.objects.in_bulk([key for key, _row in found])
    for key, row in found:
        row.customer = customers.get(key)
    return [row for _key, row in found]


def customers_of(price_list: PriceList, *, now: datetime) -> tuple[list[int], int]:
    """Return the customers that have the list in a contract, at most `MOST_CUSTOMERS` and those with the highest
    statements of last month first, and how many there are."""
    every = _with_contract(price_list)
    last_month = month_after(now.date().replace(day=1), -1)
    statements = Statement.objects.filter(
        side=Side.SELL, month=last_month, currency=price_list.currency, customer__in=every.values("pk")
    )
    highest = statements.order_by().values("customer").annotate(most=Max("total_minor")).order_by("-most", "customer")
    chosen = list(highest.values_list("customer", flat=True)[:MOST_CUSTOMERS])
    rest = every.exclude(pk__in=chosen).values_list("pk", flat=True)[: MOST_CUSTOMERS - len(chosen)]
    return [*chosen, *rest], every.count()


def _batches(keys: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _with_contract(price_list: PriceList) -> QuerySet[Customer]:
    of_list = ContractPriceList.objects.filter(price_list=price_list).values("contract__customer")
    return Customer.objects.filter(pk__in=of_list).order_by("pk")
