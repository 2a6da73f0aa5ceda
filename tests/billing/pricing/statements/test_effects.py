"""What other prices would have moved."""

from __future__ import annotations

from datetime import date
from itertools import product
from typing import Any

import pytest

from billing.models import Statement
from billing.pricing.rating.json_form import CaseError
from billing.pricing.statements.drafts import draft_of
from billing.pricing.statements.effects import effect_of
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOW,
    OVERAGE,
    account,
    contract,
    customer_with,
    figure,
    price_list,
    publish,
)
from tests.support.factories import PACKAGE

pytestmark = pytest.mark.django_db


def test_each_month_with_both_totals() -> None:
    customer, one = customer_with(used=130_000)
    figure(one, 0, start=date(2026, 10, 1), end=date(2026, 10, 31))
    prices = customer.contracts.get().price_lists.get().price_list
    publish(prices, {**BASE, "amount": "95"}, OVERAGE, since=date(2026, 11, 1))
    other = account()
    contract(other.customer, price_list(name="Other"))
    figure(other, 0)
    found = list(effect_of([{**BASE, "amount": "100"}, OVERAGE], prices, now=NOW))
    assert [(each.month.month, each.customer_id, each.before_minor, each.after_minor) for each in found] == [
        (11, customer.pk, 9500 + 2550, 10_000 + 2550),
        (10, customer.pk, 8995, 10_000),
        (9, customer.pk, 8995, 10_000),
    ]
    assert found[0].moved_minor == 500
    assert not Statement.objects.exists()


def test_a_missing_offering_is_counted() -> None:
    customer, _one = customer_with()
    prices = customer.contracts.get().price_lists.get().price_list
    (effect,) = effect_of([{**BASE, "offering": "other"}], prices, months=1, now=NOW)
    assert (effect.after_minor, effect.unpriced_before, effect.unpriced_after) == (0, 0, 2)


def test_overage_that_loses_its_price_is_counted() -> None:
    customer, _one = customer_with(used=130_000)
    prices = customer.contracts.get().price_lists.get().price_list
    (effect,) = effect_of([BASE], prices, months=1, now=NOW)
    assert (effect.moved_minor, effect.unpriced_before, effect.unpriced_after) == (-2550, 0, 1)


def test_malformed_prices_are_refused() -> None:
    customer, _one = customer_with()
    prices = customer.contracts.get().price_lists.get().price_list
    with pytest.raises(CaseError):
        list(effect_of([{"component": "base"}], prices, now=NOW))


def test_the_effect_is_what_statements_would_have_been() -> None:
    """With overrides, discounts, a commit, an interval, two lists, and prices that change in between: publishing the
    prices in place of each version gives the statements that the dry run told."""
    prices, other = price_list(), price_list(BASE, OVERAGE, name="Other", kind="ahasend")
    publish(prices, BASE | {"amount": "95"}, OVERAGE, since=date(2026, 10, 5))
    override = {"offering": PACKAGE, "component": "overage", "valid_from": "2026-11-01", "valid_until": None}
    discount = {
        "percent": "12.5",
        "kinds": ["base", "overage"],
        "valid_from": "2026-10-01",
        "valid_until": "2026-10-31",
    }
    plain, agreed, late, without = (account() for _each in range(4))
    contract(plain.customer, prices, other)
    contract(
        agreed.customer, prices,
        overrides=[override | {"included": 20_000}], discounts=[discount],
        commit={"amount": "120", "prorated": False},
    )  # fmt: skip
    contract(late.customer, prices, since=date(2026, 10, 15))
    for one in (plain, agreed, late, without):
        figure(one, 130_001)
        figure(one, 90_000, start=date(2026, 9, 10), end=date(2026, 10, 9), status="interval", high=110_500)
        figure(one, 100_001, start=date(2026, 8, 10), end=date(2026, 9, 9))
    changed = [BASE | {"amount": "70.005"}, OVERAGE | {"included": 50_000, "tiers": [{"up_to": None, "rate": "1.11"}]}]
    effects = effect_of(changed, prices, now=NOW)
    told = {(each.customer_id, each.month): each for each in effects if each.before_minor}  # zero: no contract yet
    months = [date(2026, month, 1) for month in (9, 10, 11)]

    def totals() -> dict[Any, Any]:
        found = {}
        for one, month in product((plain, agreed, late, without), months):
            for draft in draft_of(one.customer, month, now=NOW):
                found[one.customer.pk, month] = (draft.total_minor, draft.total_high_minor)
        return {key: each for key, each in found.items() if each != (0, None)}

    before = totals()
    for since in (date(2020, 1, 1), date(2026, 10, 5)):
        publish(prices, *changed, since=since)
    after = totals()
    assert {key: (each.before_minor, each.before_high_minor) for key, each in told.items()} == before
    assert {key: (each.after_minor, each.after_high_minor) for key, each in told.items()} == after
    # 100,001 of August's period is one email beyond the included: 0.00085, so nothing; then 50,001 at 1.11 per 1,000.
    assert (before[plain.customer.pk, months[0]], after[plain.customer.pk, months[0]]) == (
        (8995, None),
        (7001 + 5550, None),
    )
    # An override of 20,000 leaves 110,001 emails; no discount in November, and the commit is reached.
    assert before[agreed.customer.pk, months[2]][0] == 9500 + 9350
    assert after[agreed.customer.pk, months[2]][0] == 7001 + 12_210
