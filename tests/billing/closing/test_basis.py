"""Quantity, unit price and basis of lines."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from billing.closing.accounting.basis import BilledLine, basis_of, unit_price_of

DISCOUNT = {"steps": [{"step": "gross"}, {"step": "discount", "percent": "10.00"}]}


def line(amount_minor: int, **facts: Any) -> BilledLine:
    known = {
        "kind": "base", "discount_minor": 0, "days": 30, "of_days": 30, "quantity": 1,
        "rate": Decimal("89.95"), "per": 1, "because": {}, "adjusts": "",
    }  # fmt: skip
    return BilledLine(amount_minor=amount_minor, **(known | facts))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (line(8995), ("1", "billing period", "89.9500", "1 x 89.95")),
        (line(3298, days=11), ("1", "billing period", "32.9817", "11/30 x 89.95")),
        (line(9895, days=11, quantity=3), ("3", "billing period", "32.9817", "3 x 11/30 x 89.95")),
        (
            line(1800, rate=Decimal(20), because=DISCOUNT),
            ("1", "billing period", "18.0000", "1 x 20.00, 10 % discount"),
        ),
        (line(8095, because=DISCOUNT), ("1", "lump sum", "80.9500", "1 x 89.95, 10 % discount")),
        (
            line(9600, kind="overage", quantity=120_000, rate=Decimal("0.80"), per=1000),
            ("120", "1000 emails", "0.8000", "120,000 x 0.80 per 1,000"),
        ),
        (
            line(2593, kind="overage", quantity=30_500, rate=Decimal("0.85"), per=1000),
            ("30.5", "1000 emails", "0.8500", "30,500 x 0.85 per 1,000"),
        ),
        (
            line(2, kind="overage", quantity=123, rate=Decimal("0.00012")),
            ("1", "lump sum", "0.0200", "123 x 0.00012"),
        ),
        (line(4000, kind="dedicated_ip", quantity=2, rate=Decimal(20)), ("2", "IP address", "20.0000", "2 x 20.00")),
        (
            line(26_988, kind="commit", rate=Decimal(1000), because={"eligible": "730.12"}),
            ("1", "lump sum", "269.8800", "minimum commit 1,000.00 less 730.12"),
        ),
        (
            line(-5000, kind="opening", rate=None, days=None, of_days=None),
            ("1", "lump sum", "-50.0000", "opening balance"),
        ),
        (
            line(
                -400, kind="adjustment", quantity=-5000, rate=Decimal("0.80"),
                per=1000, adjusts="000123", because={"line": 4, "kind": "overage"},
            ),
            ("-5", "1000 emails", "0.8000", "adjusts 000123 line 4: -5,000 x 0.80 per 1,000"),
        ),
        (
            line(
                -360, kind="adjustment", quantity=-5000, rate=Decimal("0.80"), per=1000, discount_minor=-40,
                adjusts="000123", because={"line": 4, "kind": "overage"},
            ),
            ("1", "lump sum", "-3.6000", "adjusts 000123 line 4: -5,000 x 0.80 per 1,000, less discount -0.40"),
        ),
        (
            line(
                -360, kind="adjustment", quantity=-5000, rate=Decimal("0.80"), per=1000, discount_minor=-40,
                adjusts="000123", because={"line": 4, "kind": "overage", "before": DISCOUNT, "after": None},
            ),
            ("-5", "1000 emails", "0.7200", "adjusts 000123 line 4: -5,000 x 0.80 per 1,000, 10 % discount"),
        ),
        (
            line(-360, kind="adjustment", rate=Decimal(1000), adjusts="000123", because={"line": 9, "kind": "commit"}),
            ("1", "lump sum", "-3.6000", "adjusts 000123 line 9: minimum commit"),
        ),
        (
            line(-1, kind="adjustment", quantity=-10, rate=Decimal("0.80"), adjusts="000123"),
            ("1", "lump sum", "-0.0100", "adjusts 000123: -10 x 0.80"),
        ),
    ],
)  # fmt: skip
def test_a_line_in_the_file(found: BilledLine, expected: tuple[str, ...]) -> None:
    price = unit_price_of(found, 2)
    assert (str(price.quantity), price.unit, str(price.unit_price), basis_of(found, 2)) == expected


@pytest.mark.parametrize(("places", "text", "basis"), [(0, "12345.0000", "12,345"), (3, "12.3450", "12.345")])
def test_amounts_have_the_places_of_their_currency(places: int, text: str, basis: str) -> None:
    found = line(12_345, rate=Decimal(basis.replace(",", "")))
    assert str(unit_price_of(found, places).unit_price) == text
    assert basis_of(found, places) == f"1 x {basis}"
