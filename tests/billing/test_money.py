"""Amounts of money for display."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.money import trimmed


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("12.500000", "12.50"), ("0.000000", "0.00"), ("-3.000000", "-3.00"), ("66.666667", "66.666667"),
        ("3.333300", "3.3333"), ("100.000000", "100.00"), ("1234567.010000", "1234567.01"),
    ],
)  # fmt: skip
def test_amounts_have_cents_and_more_only_where_needed(amount: str, text: str) -> None:
    assert f"{trimmed(Decimal(amount)):f}" == text
