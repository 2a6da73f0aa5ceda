"""Exchange rates of a month: those stored for its last day. One customer's total is converted once, half up."""

from __future__ import annotations

from datetime import date

from billing.models import ExchangeRate
from billing.pricing.rating.case import ConversionRate
from billing.pricing.rating.currency import as_amount, converted, minor_unit_places
from billing.usage.periods import last_day


class MonthRates:
    """Converts amounts at the rates of a month's last day. Of two for the same day the one entered later counts."""

    def __init__(self, month: date) -> None:
        self.on = last_day(month)
        self._rates: dict[frozenset[str], ConversionRate] = {}
        for row in ExchangeRate.objects.filter(on=self.on).order_by("pk"):
            found = ConversionRate(row.rate, row.to_currency, row.from_currency, row.source, row.on)
            self._rates[frozenset((row.from_currency, row.to_currency))] = found

    def convert(self, minor: int, source: str, target: str) -> int | None:
        """Return minor units of `target`; None if there is no rate between the two."""
        if source == target:
            return minor
        rate = self._rates.get(frozenset((source, target)))
        if rate is None:
            return None
        amount = converted(as_amount(minor, minor_unit_places(source)), source, target, rate)
        return int(amount.scaleb(minor_unit_places(target)))
