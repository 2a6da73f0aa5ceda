"""Amounts of money: stored as integers, exact, and one currency at a time."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

CENT = Decimal("0.01")
PLACES = 6
_STEP = Decimal(1).scaleb(-PLACES)
# 18 digits always fit in the column's 64 bits. A number that would lose a digit raises.
_EXACT = Context(prec=18, traps=[Inexact, InvalidOperation])


class ScaledDecimalField(models.Field):  # type: ignore[type-arg]  # not generic at run time
    """Decimal number of 12 digits and 6 decimal places, stored as an integer number of millionths.

    SQLite stores and sums Django's `DecimalField` in floating point. This column is exact on both databases, as are
    comparisons and `Sum`, `Min`, and `Max` of it. Nothing is rounded: a float, or a number of more digits, raises
    `ValidationError`, also when it is saved or compared. A `Sum` beyond 64 bits is exact on PostgreSQL and an error on
    SQLite. The base class is not `BigIntegerField`, so that calculating with the column in a query, or its average, is
    an error instead of a number of millionths.
    """

    description = _("Decimal number")
    default_error_messages = {
        "invalid": _("“%(value)s” (%(type)s) is not an exact decimal number."),
        "digits": _("“%(value)s” has more than 12 digits or more than 6 decimal places."),
    }

    def db_type(self, connection: Any) -> str:
        return "bigint"

    def to_python(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
            raise self._refusal("invalid", value)
        try:
            number = Decimal(value)
        except DecimalException:
            raise self._refusal("invalid", value) from None
        if not number.is_finite():
            raise self._refusal("invalid", value)
        try:
            return number.quantize(_STEP, context=_EXACT)
        except DecimalException:
            raise self._refusal("digits", value) from None

    def get_prep_value(self, value: Any) -> int | None:
        number = self.to_python(super().get_prep_value(value))
        return None if number is None else int(number.scaleb(PLACES))

    def from_db_value(self, value: Any, *_: Any) -> Decimal | None:
        if value is None:
            return None
        # PostgreSQL returns a sum as Decimal. An average is a fraction there, and a float on SQLite.
        if isinstance(value, float) or value != int(value):
            raise TypeError(f"{value!r} is not a whole number of millionths.")
        return Decimal(int(value)).scaleb(-PLACES)

    def _refusal(self, code: str, value: Any) -> ValidationError:
        params = {"value": value, "type": type(value).__name__}
        return ValidationError(self.error_messages[code], code=code, params=params)


class Sum(NamedTuple):
    """Sum of the amounts of one currency, and their number."""

    currency: str
    amount: Decimal
    of: int


def rounded(amount: Decimal) -> Decimal:
    """Round what a provider returned to the places that are stored: a share of an invoice can have more."""
    return amount.quantize(_STEP)


def trimmed(amount: Decimal) -> Decimal:
    """Return the amount without trailing zeros: two places, and more only where the provider returned more."""
    cents = amount.quantize(CENT)
    return cents if cents == amount else amount.normalize()


def trimmed_or_none(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else trimmed(amount)
