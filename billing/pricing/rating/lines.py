"""Statement lines and findings, as the engine returns them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from billing.pricing.rating import case as inputs

# The order of R7. Adjustments follow after them.
ORDER = (inputs.BASE, inputs.ADDON, inputs.DEDICATED_IP, inputs.OVERAGE, inputs.COMMIT, inputs.ONE_TIME)
# Lines of these kinds count towards a minimum commit.
ELIGIBLE = frozenset({inputs.BASE, inputs.ADDON, inputs.DEDICATED_IP, inputs.OVERAGE})


class OpenEnd(Enum):
    """A number that nothing limits: neither zero, nor exact, nor a number."""

    OPEN_ENDED = "open_ended"


OPEN_ENDED = OpenEnd.OPEN_ENDED


@dataclass(frozen=True, slots=True)
class RatedLine:
    """One line of a statement.

    `gross`, `discount`, and `amount` are those of the least usage. `amount_high` is the amount at the most usage: None
    if it is the same, OPEN_ENDED if nothing limits it. It can be below `amount`, because more usage can mean a cheaper
    tier or a smaller true-up. `rate` is the price of `per` units for `of_days` days. The true-up line has no account.
    """

    account: str | None
    period_start: date
    period_end: date
    kind: str
    offering: str
    service_start: date
    service_end: date
    tier: int
    quantity: int
    quantity_high: int | OpenEnd | None
    rate: Decimal
    per: int
    days: int
    of_days: int
    gross: Decimal
    discount: Decimal
    amount: Decimal
    amount_high: Decimal | OpenEnd | None
    account_code: str
    tax_code: str
    version: str | None
    because: dict[str, Any]

    @property
    def key(self) -> tuple[str | None, str, str, date, int]:
        """Identify the line in its statement. Rating again gives the same keys."""
        return (self.account, self.kind, self.offering, self.service_start, self.tier)

    @property
    def most(self) -> Decimal | OpenEnd:
        return self.amount if self.amount_high is None else self.amount_high


@dataclass(frozen=True, slots=True)
class RatingFinding:
    """Something about a period that a person should know; the codes are listed in docs/reference/rating-case.md."""

    code: str
    account: str
    period_start: date
    period_end: date
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InvoiceShare:
    """A part of a shared invoice. `kind` is parent, account, unknown, removed_account, removed, or unallocated."""

    kind: str
    id: str
    count: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class RatingTotal:
    """The sum of the lines at the least and at the most usage, in one currency."""

    currency: str
    amount: Decimal
    amount_high: Decimal | OpenEnd


@dataclass(frozen=True, slots=True)
class RatingResult:
    """The lines of one customer in the order of R7. `converted` is the total in the other currency, if there is one."""

    lines: tuple[RatedLine, ...]
    total: RatingTotal
    findings: tuple[RatingFinding, ...]
    shares: tuple[InvoiceShare, ...] = ()
    converted: RatingTotal | None = None


def shown_number(value: Decimal | int | OpenEnd | None) -> str | int | None:
    """Return a number as JSON has it: amounts as strings, an open end by name."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.value if isinstance(value, OpenEnd) else value


def line_to_json(line: RatedLine) -> dict[str, Any]:
    numbers = ("gross", "discount", "amount", "amount_high")
    return {
        "key": "/".join([line.account or "", line.kind, line.offering, line.service_start.isoformat(), str(line.tier)]),
        "account": line.account,
        "period": _span(line.period_start, line.period_end),
        "kind": line.kind,
        "offering": line.offering,
        "service": _span(line.service_start, line.service_end),
        "tier": line.tier,
        "quantity": line.quantity,
        "quantity_high": shown_number(line.quantity_high),
        "rate": shown_number(line.rate),
        "per": line.per,
        "days": line.days,
        "of_days": line.of_days,
        **{name: shown_number(getattr(line, name)) for name in numbers},
        "account_code": line.account_code,
        "tax_code": line.tax_code,
        "version": line.version,
        "because": line.because,
    }


def result_to_json(result: RatingResult) -> dict[str, Any]:
    """Write a result as `manage.py rate` prints it."""
    return {
        "lines": [line_to_json(line) for line in result.lines],
        "total": _total(result.total),
        "converted": _total(result.converted) if result.converted else None,
        "shares": [
            {"kind": each.kind, "id": each.id, "count": each.count, "amount": shown_number(each.amount)}
            for each in result.shares
        ],
        "findings": [_finding(each) for each in result.findings],
    }


def _finding(finding: RatingFinding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "account": finding.account,
        "period": _span(finding.period_start, finding.period_end),
        **finding.details,
    }


def _total(total: RatingTotal) -> dict[str, Any]:
    return {
        "currency": total.currency,
        "amount": shown_number(total.amount),
        "amount_high": shown_number(total.amount_high),
    }


def _span(start: date, end: date) -> dict[str, str]:
    return {"start": start.isoformat(), "end": end.isoformat()}


def in_order(lines: Iterable[RatedLine]) -> list[RatedLine]:
    """Return the lines in the order of R7, those of one kind in the order in which they came."""
    return sorted(lines, key=lambda line: ORDER.index(line.kind))
