"""Amounts of money for display: exact, and one currency at a time."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

CENT = Decimal("0.01")


class Sum(NamedTuple):
    """Sum of the amounts of one currency, and their number."""

    currency: str
    amount: Decimal
    of: int


def trimmed(amount: Decimal) -> Decimal:
    """Return the amount without trailing zeros: two places, and more only where the provider returned more."""
    cents = amount.quantize(CENT)
    return cents if cents == amount else amount.normalize()


def trimmed_or_none(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else trimmed(amount)
