"""Effects of other prices on the statements of past months. Nothing is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from billing.models import ContractPriceList, PriceList
from billing.pricing.rating.case import ListPrices
from billing.pricing.rating.case_json import VERSION
from billing.pricing.statements.drafts import CustomerInputs, Rater
from billing.pricing.statements.locks import lock_group
from billing.pricing.statements.results import Draft, rate_prepared
from billing.usage.periods import month_after
from customers.models import Customer


@dataclass(frozen=True, slots=True)
class StatementEffect:
    """A customer's total of one month in one currency, with the present prices and with the changed ones.

    Amounts are minor units. `..._high_minor` is the most it can be where a figure is an interval; None: the amount is
    exact, or has no known most (`open_ended`). `unpriced`: what has no price, before and after.
    """

    customer_id: int
    customer: str
    month: date
    currency: str
    before_minor: int
    after_minor: int
    before_high_minor: int | None = None
    after_high_minor: int | None = None
    open_ended: bool = False
    unpriced_before: int = 0
    unpriced_after: int = 0

    @property
    def moved_minor(self) -> int:
        return self.after_minor - self.before_minor


def effect_of(
    prices: list[dict[str, Any]],
    price_list: PriceList,
    *,
    months: int = 3,
    now: datetime,
    customers: Collection[int] | None = None,
) -> Iterator[StatementEffect]:
    """Yield, by customer and month, what `prices` (in the form of a rating case) would have moved in the `months`
    before the one of `now`, had they stood in each version of `price_list` that was in force then.

    Customers that pay by another list have no effect, and those whose total stays have one with equal amounts. A list
    without a version then has these prices from the beginning. Effects come month by month, the latest first, and by
    customer; customers are read in groups, so the caller may stop early. `customers` (pk) narrows them. Raises
    `CaseError` for prices that are not well formed.
    """
    this_month = now.astimezone(UTC).date().replace(day=1)
    payers = ContractPriceList.objects.filter(price_list=price_list, contract__published_at__isnull=False)
    if customers is not None:
        payers = payers.filter(contract__customer__in=list(customers))
    ordered = sorted(set(payers.values_list("contract__customer", flat=True)))
    for step in range(1, months + 1):
        yield from _month(month_after(this_month, -step), prices, price_list, ordered, now=now)


def _month(
    month: date, prices: list[dict[str, Any]], price_list: PriceList, customers: Sequence[int], *, now: datetime
) -> Iterator[StatementEffect]:
    before, after = Rater(month, now=now), Rater(month, now=now)
    public_id = str(price_list.public_id)
    for rater in (before, after):
        rater.catalog.load([public_id])
    (stored,) = after.catalog.of([public_id])
    after.catalog.replace(_with_prices(stored, prices))
    for group in _groups(customers):
        names = dict(Customer.objects.filter(pk__in=group).values_list("pk", "company_name"))
        for inputs in before.inputs_of(group):
            after.catalog.load(name for each in inputs.agreements for name in each.terms.price_lists)
            if any(public_id in each.terms.price_lists for each in inputs.agreements):
                yield from _effects(inputs, names[inputs.customer], before, after)


def _with_prices(stored: ListPrices, prices: list[dict[str, Any]]) -> ListPrices:
    """Return the list with these prices in each version, or in one that is valid always."""
    always = {"id": "changed", "valid_from": "2000-01-01", "prices": prices}
    changed = VERSION.read(always, "")
    versions = tuple(replace(each, prices=changed.prices) for each in stored.versions)
    return replace(stored, versions=versions or (changed,))


def _groups(customers: Sequence[int]) -> Iterator[list[int]]:
    group: list[int] = []
    for pk in customers:
        if group and lock_group(pk) != lock_group(group[0]):
            yield group
            group = []
        group.append(pk)
    if group:
        yield group


def _effects(inputs: CustomerInputs, name: str, before: Rater, after: Rater) -> Iterator[StatementEffect]:
    old, new = (_drafts(inputs, rater) for rater in (before, after))
    for currency in sorted(old.keys() | new.keys()):
        one, other = old.get(currency), new.get(currency)
        if currency and one and other:
            yield StatementEffect(
                customer_id=inputs.customer,
                customer=name,
                month=before.month,
                currency=currency,
                before_minor=one.total_minor,
                after_minor=other.total_minor,
                before_high_minor=one.total_high_minor,
                after_high_minor=other.total_high_minor,
                open_ended=one.open_ended or other.open_ended,
                unpriced_before=_unpriced(one),
                unpriced_after=_unpriced(other),
            )


def _drafts(inputs: CustomerInputs, rater: Rater) -> dict[str, Draft]:
    cases = inputs.cases(rater.catalog, rater.month)
    found = [rate_prepared(each, rater.books, {}) for each in cases]
    return {each.currency: each for each in found}


def _unpriced(draft: Draft) -> int:
    return sum(finding["kind"] in ("unpriced", "overage_unpriced") for finding in draft.findings)
