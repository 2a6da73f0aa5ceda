"""Model field for amounts of money and rates: exact on both databases, also in sums."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

PLACES = 6
_STEP = Decimal(1).scaleb(-PLACES)
# 18 digits always fit in the column's 64 bits. A number that would lose a digit raises.
_EXACT = Context(prec=18, traps=[Inexact, InvalidOperation])


class ScaledDecimalField(models.Field):  # type: ignore[type-arg]  # not generic at run time
    """Decimal number of 12 digits and 6 decimal places, stored as an integer number of millionths.

    SQLite stores and sums Django's `DecimalField` in floating point. This column is exact on both databases, as are
    comparisons and `Sum`, `Min`, and `Max` of it. Nothing is rounded: a float, or a number of more digits, raises
    `ValidationError`, also when it is saved or compared. A `Sum` beyond 64 bits is exact on PostgreSQL and an error on
    SQLite. The base class is not `BigIntegerField`, so that selecting or writing a calculation with the column, or its
    average, is an error instead of a number of millionths. Django can't tell in a condition: compare columns or values
    there, and never `F("cost") + 1`.
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

    def get_placeholder(self, value: Any, _compiler: Any, _connection: Any) -> str:
        """Refuse to write an expression that is no amount. The field of `F("cost") + 1` is unknown: a `FieldError`."""
        if hasattr(value, "output_field") and not isinstance(value.output_field, ScaledDecimalField):
            raise TypeError(f"{value!r} is not a {type(self).__name__}.")
        return "%s"

    def from_db_value(self, value: Any, *_: Any) -> Decimal | None:
        if value is None:
            return None
        # PostgreSQL returns a sum as a Decimal without places. An average has places there, and is a float on SQLite.
        if not (isinstance(value, int) or (isinstance(value, Decimal) and value.as_tuple().exponent == 0)):
            raise TypeError(f"{value!r} is not a whole number of millionths.")
        return Decimal(int(value)).scaleb(-PLACES)

    def _refusal(self, code: str, value: Any) -> ValidationError:
        params = {"value": value, "type": type(value).__name__}
        return ValidationError(self.error_messages[code], code=code, params=params)


def rounded(amount: Decimal) -> Decimal:
    """Round what a provider returned to the places that are stored: a share of an invoice can have more."""
    return amount.quantize(_STEP)
