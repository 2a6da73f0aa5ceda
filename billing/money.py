"""Money as it is shown: exact, and one currency at a time."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from billing.models import COST_PLACES

CENT = Decimal("0.01")
_STORED = Decimal(1).scaleb(-COST_PLACES)


class Sum(NamedTuple):
    """Amounts of one currency added up, and how many they are."""

    currency: str
    amount: Decimal
    of: int


def trimmed(amount: Decimal) -> Decimal:
    """Without the zeros of its column: two places, and more only where the provider said more.

    A sum made by SQLite is a floating one: here it is again what the stored amounts add up to.
    """
    stored = amount.quantize(_STORED)
    cents = stored.quantize(CENT)
    return cents if cents == stored else stored.normalize()


def trimmed_or_none(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else trimmed(amount)
