"""Makes the lines of one account and billing period: the arithmetic of a line, and what explains it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from math import gcd
from typing import Any

from billing.pricing.rating import case as inputs
from billing.pricing.rating.books import Charge
from billing.pricing.rating.currency import BILLION, as_amount, half_up
from billing.pricing.rating.lines import OpenEnd, RatedLine, RatingFinding

# A discount is a number of billionths of a percent.
WHOLE_PERCENT = 100 * BILLION


@dataclass(slots=True)
class PeriodLines:
    """Collects the lines and findings of one billing period of an account."""

    account: inputs.RatedAccount
    period: inputs.RatedPeriod
    places: int
    of_days: int
    lines: list[RatedLine] = field(default_factory=list)
    findings: list[RatingFinding] = field(default_factory=list)

    def find(self, code: str, **details: Any) -> None:
        """Add a finding."""
        self.findings.append(RatingFinding(code, self.account.id, self.period.start, self.period.end, details))

    def charged(
        self, rate: int, quantity: int, charge: Charge, days: int, per: int = 1
    ) -> tuple[int, int, list[dict[str, Any]]]:
        """Return gross and discount in minor units, and the steps. `rate` is in billionths."""
        numerator, denominator = rate * quantity * days * 10**self.places, BILLION * per * self.of_days
        gross = half_up(numerator, denominator)
        steps = [
            {
                "step": "gross",
                "quantity": quantity,
                "days": days,
                "of_days": self.of_days,
                "exact": exact(numerator, denominator * 10**self.places),
                "rounded": format(as_amount(gross, self.places), "f"),
            }
        ]
        if charge.discount is None:
            return gross, 0, steps
        discount = half_up(gross * charge.percent, WHOLE_PERCENT)
        steps.append(
            {
                "step": "discount",
                "percent": format(charge.discount, "f"),
                "exact": exact(gross * charge.percent, WHOLE_PERCENT * 10**self.places),
                "rounded": format(as_amount(discount, self.places), "f"),
            }
        )
        return gross, discount, steps

    def add_held(self, charge: Charge, first: date, last: date, quantity: int, days: int, **because: Any) -> None:
        """Add a line for a quantity that was held."""
        gross, discount, steps = self.charged(charge.rates[0], quantity, charge, days)
        self.add(charge, first, last, gross=gross, discount=discount, quantity=quantity, days=days,
                 because={**because, "price": charge.origin, "steps": steps})  # fmt: skip

    def add(
        self,
        charge: Charge,
        first: date,
        last: date,
        *,
        gross: int,
        discount: int,
        quantity: int,
        because: dict[str, Any],
        days: int | None = None,
        tier: int = 0,
        per: int = 1,
        quantity_high: int | OpenEnd | None = None,
        most: int | OpenEnd | None = None,
    ) -> None:
        """Add a line of amounts in minor units. `most` is the amount at the most usage, where that is another."""
        price, places = charge.price, self.places
        rate = price.tiers[tier].rate if isinstance(price, inputs.OveragePrice) else price.amount
        self.lines.append(
            RatedLine(
                account=self.account.id,
                period_start=self.period.start,
                period_end=self.period.end,
                kind=price.component,
                offering=price.offering,
                service_start=first,
                service_end=last,
                tier=tier,
                quantity=quantity,
                quantity_high=quantity_high,
                rate=rate,
                per=per,
                days=self.of_days if days is None else days,
                of_days=self.of_days,
                gross=as_amount(gross, places),
                discount=as_amount(discount, places),
                amount=as_amount(gross - discount, places),
                amount_high=as_amount(most, places) if isinstance(most, int) else most,
                account_code=price.account_code,
                tax_code=price.tax_code,
                version=charge.version,
                because=because,
            )
        )


def exact(numerator: int, denominator: int) -> str:
    """Write a fraction in lowest terms."""
    common = gcd(numerator, denominator)
    return f"{numerator // common}/{denominator // common}"
