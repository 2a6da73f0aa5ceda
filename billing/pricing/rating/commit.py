"""The true-up line of a contract's minimum commit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from billing.pricing.rating import case as inputs
from billing.pricing.rating.account_lines import exact
from billing.pricing.rating.checks import last_day_of
from billing.pricing.rating.currency import BILLION, as_amount, as_minor_units, billionths, half_up
from billing.pricing.rating.lines import ELIGIBLE, OpenEnd, RatedLine, shown_number
from billing.pricing.rating.spans import days_of


@dataclass(frozen=True, slots=True)
class Eligible:
    """Sums of lines that count toward a commit, in minor units at both ends of the usage. `endless`: how many of them
    have no upper end."""

    low: int = 0
    high: int = 0
    endless: int = 0

    def plus(self, other: Eligible, times: int = 1) -> Eligible:
        return Eligible(
            self.low + times * other.low, self.high + times * other.high, self.endless + times * other.endless
        )


def eligible_sums(lines: Iterable[RatedLine], places: int) -> Eligible:
    eligible = [line for line in lines if line.kind in ELIGIBLE]
    most = [each for line in eligible if not isinstance(each := line.most, OpenEnd)]
    return Eligible(
        low=sum(as_minor_units(line.amount, places) for line in eligible),
        high=sum(as_minor_units(each, places) for each in most),
        endless=len(eligible) - len(most),
    )


def commit_line(
    contract: inputs.ContractTerms, commit: inputs.MinimumCommit, eligible: Eligible, month: date, places: int
) -> RatedLine | None:
    """Return what the eligible lines lack to the commit, or None if they reach it at both ends of the usage."""
    first, last = month, last_day_of(month)
    of_days = days_of(first, last)
    if commit.prorated:
        first = max(first, contract.valid_from)
    days = days_of(first, last)
    numerator, denominator = billionths(commit.amount) * days * 10**places, BILLION * of_days
    due = half_up(numerator, denominator)
    low, high, is_open = eligible.low, eligible.high, bool(eligible.endless)
    at_least, at_most = max(0, due - low), 0 if is_open else max(0, due - high)
    if not at_least and not at_most:
        return None
    amount = as_amount(at_least, places)
    return RatedLine(
        account=None,
        period_start=month,
        period_end=last,
        kind=inputs.COMMIT,
        offering="",
        service_start=first,
        service_end=last,
        tier=0,
        quantity=1,
        quantity_high=None,
        rate=commit.amount,
        per=1,
        days=days,
        of_days=of_days,
        gross=amount,
        discount=as_amount(0, places),
        amount=amount,
        amount_high=None if at_most == at_least else as_amount(at_most, places),
        account_code="",
        tax_code="",
        version=None,
        because={
            "contract": contract.id,
            "commit": format(commit.amount, "f"),
            "prorated": commit.prorated,
            "eligible": format(as_amount(low, places), "f"),
            "eligible_high": "open_ended" if is_open else format(as_amount(high, places), "f"),
            "steps": [
                {
                    "step": "commit",
                    "days": days,
                    "of_days": of_days,
                    "exact": exact(numerator, denominator * 10**places),
                    "rounded": shown_number(as_amount(due, places)),
                }
            ],
        },
    )
