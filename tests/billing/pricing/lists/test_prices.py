"""Prices in full, their flat fields, and what differs."""

from __future__ import annotations

from typing import Any

import pytest

from billing.pricing.form_fields import AmountField, UnitsField
from billing.pricing.lists.prices import checked_prices, item_fields, with_fields
from billing.pricing.lists.wording import items_of_prices, price_changes
from portal.refusals import Refusal
from tests.billing.pricing.pages import BASE, IP, OVERAGE
from tests.support.factories import PACKAGE

FULL = checked_prices([IP, OVERAGE, BASE])


def test_prices_are_written_out_in_order() -> None:
    assert [(each["offering"], each["component"]) for each in FULL] == [
        (PACKAGE, "base"),
        (PACKAGE, "overage"),
        ("postkeeper.x.ip.v2", "dedicated_ip"),
    ]
    assert FULL[0]["on_start"] == "full"
    assert FULL[2]["amount"] == "20.00"
    assert checked_prices(FULL) == FULL


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ([BASE, BASE | {"amount": "1.00"}], "two prices for Base fee"),
        ([BASE | {"amount": 1.5}], "not a string"),
        ([BASE | {"amount": "x"}], "not a number"),
        ([BASE | {"colour": "red"}], "colour"),
        ([OVERAGE | {"tiers": [{"up_to": 5, "rate": "1"}]}], "last tier"),
        ([OVERAGE | {"mode": "block", "block_size": 1000, "tiers": [{"up_to": 1500, "rate": "1"}, {"rate": "1"}]}],
         "multiple"),
        ([{"component": "colour"}], "one of"),
    ],
)  # fmt: skip
def test_prices_that_are_refused(prices: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        checked_prices(prices)


@pytest.mark.parametrize(("offering", "item"), [(PACKAGE, "package"), ("postkeeper.x.ip.v2", "dedicated_ip")])
def test_the_fields_of_an_item_give_the_same_prices(offering: str, item: str) -> None:
    assert with_fields(FULL, offering, item, item_fields(FULL, offering, item)) == FULL


def test_a_component_without_values_is_left_out() -> None:
    empty = {"included": None} | {f"{name}_{n}": None for n in range(1, 21) for name in ("up_to", "rate")}
    found = with_fields(FULL, PACKAGE, "package", item_fields(FULL, PACKAGE, "package") | empty)
    assert [each["component"] for each in found] == ["base", "dedicated_ip"]
    with pytest.raises(Refusal, match="Enter a price"):
        with_fields(FULL, PACKAGE, "package", item_fields([], PACKAGE, "package"))


@pytest.mark.parametrize(
    ("typed", "field", "says"),
    [
        ({"up_to_1": 400_000, "rate_1": "1", "up_to_2": 300_000, "rate_2": "1", "rate_3": "1"}, "up_to_2", "above"),
        ({"up_to_1": 5, "rate_1": "1", "up_to_2": 5, "rate_2": "1", "rate_3": "1"}, "up_to_2", "above"),
        ({"up_to_1": 400_000, "rate_1": "1"}, "up_to_1", "no upper bound"),
        ({"rate_1": "1", "rate_2": "1"}, "up_to_1", "Only the last tier"),
        ({"up_to_1": 5, "rate_2": "1"}, "rate_1", "Enter the rate"),
        ({"mode": "block", "block_size": 1000, "up_to_1": 1500, "rate_1": "1", "rate_2": "1"}, "up_to_1", "multiple"),
    ],
)
def test_a_wrong_tier_is_named(typed: dict[str, Any], field: str, says: str) -> None:
    fields = item_fields([], PACKAGE, "package") | {"included": 0} | typed
    with pytest.raises(Refusal, match=says) as refused:
        with_fields([], PACKAGE, "package", fields)
    assert refused.value.field == field


def test_changes_are_told_field_by_field() -> None:
    after = checked_prices([BASE | {"amount": "99", "on_start": "prorated"}, IP, {**IP, "component": "addon"}])
    changes = {(each.component, each.kind): each for each in price_changes(FULL, after, "EUR")}
    assert set(changes) == {("Base fee", "changed"), ("Overage", "minus"), ("Add-on", "plus")}
    fields = [(each.label, each.before, each.after) for each in changes["Base fee", "changed"].fields]
    assert [(str(label), before, after) for label, before, after in fields] == [
        ("Amount", "89.95", "99.00"),
        ("First period", "Full period", "Prorated by days"),
    ]
    assert price_changes(FULL, FULL, "EUR") == []


def test_prices_in_words() -> None:
    texts = [line.text for item in items_of_prices(FULL, "EUR") for line in item.lines]
    assert texts == [
        "€89.95 per billing period",
        "100,000 emails included; €0.85 per 1,000 up to 400,000; €0.70 per 1,000 above",
        "€20.00 per unit and billing period, 1 included",
    ]


@pytest.mark.parametrize(
    ("typed", "amount"),
    [("49", "49.00"), ("1,250.50", "1250.50"), ("0.000125", "0.000125"), (" 7.10 ", "7.10"), ("", None)],
)
def test_an_amount_is_read_exactly(typed: str, amount: str | None) -> None:
    assert AmountField(required=False).clean(typed) == amount


@pytest.mark.parametrize(
    "typed", ["1,50", "1.234,50", "12,34.5", "-3", "1e3", "NaN", "\u0663", "1.0123456789", "9" * 10]
)
def test_an_amount_that_may_mean_another_is_refused(typed: str) -> None:
    with pytest.raises(Exception, match=r"amount|0 or more"):
        AmountField().clean(typed)


def test_units_are_whole_numbers() -> None:
    assert UnitsField().clean("250,000") == 250_000
    for typed in ("2.5", "-1", "1,00", "x"):
        with pytest.raises(Exception, match="whole number"):
            UnitsField().clean(typed)
