"""Currencies that amounts can be in, and amounts as the text that is stored."""

from __future__ import annotations

from decimal import Decimal

from django.utils.translation import gettext as _

from billing.pricing.rating.currency import UnknownCurrency, minor_unit_places
from portal.refusals import Refusal

MOST_TIERS = 20
# Characters of an account or tax code.
MOST_CODE = 40
# Offered first; every other code of ISO 4217 can be typed.
COMMON = ("EUR", "USD", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "CAD", "AUD", "JPY", "INR", "BRL")


def check_currency(code: str, *, field: str = "currency") -> None:
    """Raise `Refusal` for a code that is no currency."""
    try:
        minor_unit_places(code)
    except UnknownCurrency:
        raise Refusal(_("Unknown currency. Enter a three-letter code of ISO 4217, such as EUR."), field=field) from None


def code_or_none(text: str) -> str | None:
    """Return a currency code of an address; None for what is no currency."""
    try:
        check_currency(text)
    except Refusal:
        return None
    return text


def canonical_amount(text: str) -> str:
    """Return "49.00" for "49.0000" and "49": at least two decimal places, and no zero at the end beyond them."""
    whole, _point, places = format(Decimal(text), "f").partition(".")
    return f"{whole}.{places.rstrip('0'):0<2}"
