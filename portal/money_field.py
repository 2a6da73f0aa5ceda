"""Model field for amounts of money and rates: exact on both databases, also in sums."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

PLACES = 6
# 18 digits always fit in the column's 64 bits. A number that would lose a digit raises.
_EXACT = Context(prec=18, traps=[Inexact, InvalidOperation])


class ScaledDecimalField(models.Field):  # type: ignore[type-arg]  # not generic at run time
    """Decimal number of 12 digits and 6 decimal places. SQLite stores it as an integer number of millionths.

    SQLite stores and sums Django's `DecimalField` in floating point. This column is exact on both databases, as are
    comparisons and `Sum`, `Min`, and `Max` of it. Nothing is rounded: a float, or a number of more digits, raises
    `ValidationError`, also when it is saved or compared. A `Sum` beyond 64 bits is exact on PostgreSQL and an error on
    SQLite. The base class is neither `BigIntegerField` nor `DecimalField`, so that selecting or writing a calculation
    with the column, or its average, is an error instead of a number of millionths. Django can't tell in a condition:
    compare columns or values there, and never `F("cost") + 1`.
    """

    places = PLACES
    description = _("Decimal number")
    default_error_messages = {
        "invalid": _("“%(value)s” (%(type)s) is not an exact decimal number."),
        "digits": _("“%(value)s” has more than %(whole)s digits or more than %(places)s decimal places."),
    }

    def db_type(self, connection: Any) -> str:
        return "bigint" if connection.vendor == "sqlite" else f"numeric({_EXACT.prec}, {self.places})"

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
            return number.quantize(step(self.places), context=_EXACT)
        except DecimalException:
            raise self._refusal("digits", value) from None

    def get_prep_value(self, value: Any) -> Decimal | None:
        return self.to_python(super().get_prep_value(value))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        number = super().get_db_prep_value(value, connection, prepared)
        return (
            int(number.scaleb(self.places)) if isinstance(number, Decimal) and connection.vendor == "sqlite" else number
        )

    def get_placeholder(self, value: Any, _compiler: Any, _connection: Any) -> str:
        """Refuse to write an expression that is no amount. The field of `F("cost") + 1` is unknown: a `FieldError`."""
        if hasattr(value, "output_field") and not isinstance(value.output_field, ScaledDecimalField):
            raise TypeError(f"{value!r} is not a {type(self).__name__}.")
        return "%s"

    def from_db_value(self, value: Any, *_: Any) -> Decimal | None:
        return amount_of(value, self.places)

    def _refusal(self, code: str, value: Any) -> ValidationError:
        params = {
            "value": value,
            "type": type(value).__name__,
            "whole": _EXACT.prec - self.places,
            "places": self.places,
        }
        return ValidationError(self.error_messages[code], code=code, params=params)


class RateField(ScaledDecimalField):
    """Decimal number of 9 digits and 9 decimal places: a price per so many units, or an exchange rate."""

    places = 9


def amount_of(value: Any, places: int = PLACES) -> Decimal | None:
    """Return the amount of a column, or of a sum of it, as the database returns it. An average raises `TypeError`: it
    is a float on SQLite, and a number of more places on PostgreSQL."""
    if value is None or (isinstance(value, Decimal) and value.as_tuple().exponent in (0, -places)):
        return value
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number of {step(places)}.")
    return Decimal(value).scaleb(-places)


def step(places: int) -> Decimal:
    """Return the smallest number with so many decimal places: 0.01 for 2."""
    return Decimal(1).scaleb(-places)


def rounded(amount: Decimal) -> Decimal:
    """Round what a provider returned to the places that are stored: a share of an invoice can have more."""
    return amount.quantize(step(PLACES))
