"""Amounts of statements for display: minor units of a currency, exact or from a least to a most."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from billing.pricing.rating.currency import minor_unit_places
from portal import formats


def places_of(currency: str) -> int:
    return minor_unit_places(currency) if currency else 2


def minor_text(minor: int, currency: str, *, signed: bool = False) -> str:
    """Return 8995 and "EUR" as "€89.95", and 8995 and "JPY" as "JPY 8,995"."""
    places = places_of(currency)
    if places >= 2:
        return formats.money_text(Decimal(minor).scaleb(-places), currency, signed=signed)
    digits = number_format(Decimal(abs(minor)).scaleb(-places), places, use_l10n=True, force_grouping=True)
    sign = formats.MINUS if minor < 0 else "+" if signed and minor > 0 else ""
    return f"{sign}{currency}\u00a0{digits}"


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount at the least usage, and at the most usage where that is another one. The second can be the smaller."""

    minor: int
    currency: str
    high_minor: int | None = None
    open_ended: bool = False

    @property
    def least(self) -> int:
        return self.minor if self.high_minor is None else min(self.minor, self.high_minor)

    @property
    def most(self) -> int | None:
        """The most it can be; None if nothing limits it."""
        if self.open_ended:
            return None
        return self.minor if self.high_minor is None else max(self.minor, self.high_minor)

    @property
    def is_exact(self) -> bool:
        return self.least == self.most

    @property
    def value(self) -> Decimal:
        """The least as a decimal number, for files."""
        return Decimal(self.least).scaleb(-places_of(self.currency))

    @property
    def most_value(self) -> Decimal | None:
        return None if self.most is None else Decimal(self.most).scaleb(-places_of(self.currency))

    @property
    def least_text(self) -> str:
        return minor_text(self.least, self.currency)

    def __str__(self) -> str:
        least = minor_text(self.least, self.currency)
        if self.most is None:
            return _("%(n)s or more") % {"n": least}
        return least if self.is_exact else f"{least} \u2013 {minor_text(self.most, self.currency)}"

    def __add__(self, other: Amount) -> Amount:
        """Add an amount of the same currency."""
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} can't be added")
        high = None
        if self.high_minor is not None or other.high_minor is not None:
            high = (self.minor if self.high_minor is None else self.high_minor) + (
                other.minor if other.high_minor is None else other.high_minor
            )
        is_open = self.open_ended or other.open_ended
        return Amount(self.minor + other.minor, self.currency, None if is_open else high, is_open)
