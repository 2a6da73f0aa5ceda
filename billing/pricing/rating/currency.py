"""Minor units of currencies, and the only place where an amount of money is rounded."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact
from functools import cache

from iso4217 import Currency

from billing.pricing.rating.case import ConversionRate

# Prices and rates have at most nine decimal places, so each is a whole number of billionths.
PLACES = 9
BILLION = 10**PLACES
# The default context silently rounds to 28 digits, which the total of many large lines exceeds.
EXACT = Context(prec=200, traps=[Inexact])


class UnknownCurrency(ValueError):
    """The code is not a currency of ISO 4217, or one without minor units, such as gold."""


@cache
def minor_unit_places(code: str) -> int:
    """Return the number of decimal places of the currency's minor unit.

    Raise UnknownCurrency.
    """
    try:
        places = Currency(code).exponent
    except ValueError:
        places = None
    if places is None:
        raise UnknownCurrency(f"{code!r} is not a currency of ISO 4217 with minor units.")
    return int(places)


def half_up(numerator: int, denominator: int) -> int:
    """Round the fraction to a whole number, at the half away from zero. The denominator is positive."""
    whole = (2 * abs(numerator) + denominator) // (2 * denominator)
    return whole if numerator >= 0 else -whole


def billionths(value: Decimal) -> int:
    """Return an amount or rate of at most nine decimal places as a whole number of billionths, exactly."""
    return int(value.scaleb(PLACES))


def as_amount(minor: int, places: int) -> Decimal:
    """Return a number of minor units as an amount with the places of its currency."""
    return Decimal(minor).scaleb(-places, EXACT)


def as_minor_units(amount: Decimal, places: int) -> int:
    """Round an amount to minor units."""
    numerator, denominator = amount.as_integer_ratio()
    return half_up(numerator * 10**places, denominator)


def converted(amount: Decimal, source: str, target: str, exchange_rate: ConversionRate) -> Decimal:
    """Convert an amount between the two currencies of the rate, in either direction, and round it once.

    Raise ValueError if the rate is not one between these currencies.
    """
    up, down = exchange_rate.rate.as_integer_ratio()
    if (source, target) == (exchange_rate.units_of, exchange_rate.per_one):
        up, down = down, up
    elif (source, target) != (exchange_rate.per_one, exchange_rate.units_of):
        raise ValueError(f"The exchange rate is not one between {source} and {target}.")
    numerator, denominator = amount.as_integer_ratio()
    places = minor_unit_places(target)
    return as_amount(half_up(numerator * up * 10**places, denominator * down), places)
