"""Amounts of money for display: exact, and one currency at a time."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from billing.models import COST_PLACES

CENT = Decimal("0.01")
_STORED = Decimal(1).scaleb(-COST_PLACES)


class Sum(NamedTuple):
    """Sum of the amounts of one currency, and their number."""

    currency: str
    amount: Decimal
    of: int


def trimmed(amount: Decimal) -> Decimal:
    """Return the amount without trailing zeros: two places, and more only where the provider returned more.

    SQLite sums as floating point; rounding restores the exact sum of the stored amounts.
    """
    stored = amount.quantize(_STORED)
    cents = stored.quantize(CENT)
    return cents if cents == stored else stored.normalize()


def trimmed_or_none(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else trimmed(amount)
