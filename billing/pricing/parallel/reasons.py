"""Reasons of a difference: the lines of ours that make it exactly, if theirs left them out or billed them otherwise.

Pure functions over the lines of one statement. Amounts are minor units, a difference is ours less theirs. What gives
the difference by accident is kept rare: sets of lines are of one kind, few, and the only ones that give it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import Any

from billing.pricing.rating.currency import half_up

BASE, OVERAGE, COMMIT = "base", "overage", "commit"
# Codes of reasons, with what their details have beside `amount` (minor units).
KIND = "kind"  # kind, n
OFFERING = "offering"  # kind, offering, n
ACCOUNT = "account"  # account, n
LINE = "line"  # kind, offering, n (line number), alike (how many lines have this amount)
LINES = "lines"  # kind, lines (numbers)
DISCOUNT = "discount"  # n
FULL = "full"  # n: theirs has full amounts where ours are prorated
LAST_PACKAGE, FIRST_PACKAGE = "last_package", "first_package"  # n: a full month of one package
PRORATED = "prorated"  # n: theirs is prorated where ours is full
TAX = "tax"  # percent
MOST_OF_A_KIND = 40
MOST_IN_A_SET = 3
TAX_PERCENTS = range(5, 28)
_LEAST_FOR_TAX = 1_000


@dataclass(frozen=True, slots=True)
class OurLine:
    """A statement line as far as it explains a difference. `exists` are the days on which the account existed."""

    n: int
    kind: str
    account: int | None
    offering: str
    amount: int
    discount: int = 0
    quantity: int = 0
    rate: Decimal | None = None
    days: int | None = None
    of_days: int | None = None
    percent: Decimal | None = None
    exists: int | None = None

    @property
    def is_prorated(self) -> bool:
        return self.days is not None and self.of_days is not None and self.days < self.of_days and self.kind != OVERAGE

    def amount_for(self, days: int, places: int) -> int:
        """Return what the line would amount to for so many days."""
        whole = (self.rate or Decimal(0)) * self.quantity * days * 10**places
        gross = half_up(*_fraction(whole, self.of_days or 1))
        if self.percent is None:
            return gross
        return gross - half_up(*_fraction(gross * self.percent, 100))


def _fraction(number: Decimal, divisor: int) -> tuple[int, int]:
    numerator, denominator = number.as_integer_ratio()
    return numerator, denominator * divisor


@dataclass(frozen=True, slots=True)
class DifferenceReason:
    code: str
    amount: int
    details: dict[str, Any] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        return {"code": self.code, "amount": self.amount, **self.details}


def explain(
    difference: int, lines: Sequence[OurLine], *, places: int, theirs: int, ours: int
) -> list[DifferenceReason]:
    """Return the reasons that together are the difference exactly, or [] if none are found."""
    whole = list(_whole_groups(lines, places))
    for reason in whole:
        if reason.amount == difference:
            return [reason]
    single = _single(difference, lines)
    if single:
        return [single]
    for pair in (*_pairs(whole), *_without_discount(whole, lines)):
        if sum(each.amount for each in pair) == difference:
            return list(pair)
    if found := _set_of_lines(difference, lines):
        return [found]
    return _tax(theirs, ours, difference)


def _whole_groups(lines: Sequence[OurLine], places: int) -> Iterator[DifferenceReason]:
    """Yield what theirs may lack or have otherwise as a whole, the likelier first."""
    by_kind: dict[str, list[OurLine]] = defaultdict(list)
    by_offering: dict[tuple[str, str], list[OurLine]] = defaultdict(list)
    by_account: dict[int, list[OurLine]] = defaultdict(list)
    for line in lines:
        by_kind[line.kind].append(line)
        by_offering[line.kind, line.offering].append(line)
        if line.account:
            by_account[line.account].append(line)
    for kind in sorted(by_kind, key=lambda kind: (kind not in (OVERAGE, COMMIT), kind)):
        yield DifferenceReason(KIND, _sum(by_kind[kind]), {"kind": kind, "n": len(by_kind[kind])})
    discounts = [line for line in lines if line.discount]
    if discounts:
        yield DifferenceReason(DISCOUNT, -sum(line.discount for line in discounts), {"n": len(discounts)})
    yield from _prorations(lines, by_account, places)
    for (kind, offering), group in by_offering.items():
        if len(group) < len(by_kind[kind]):
            yield DifferenceReason(OFFERING, _sum(group), {"kind": kind, "offering": offering, "n": len(group)})
    if len(by_account) > 1:
        for account, group in by_account.items():
            yield DifferenceReason(ACCOUNT, _sum(group), {"account": account, "n": len(group)})


def _prorations(
    lines: Sequence[OurLine], by_account: dict[int, list[OurLine]], places: int
) -> Iterator[DifferenceReason]:
    segments = [line for line in lines if line.is_prorated]
    if segments:
        full = sum(line.amount_for(line.of_days or 1, places) for line in segments)
        yield DifferenceReason(FULL, _sum(segments) - full, {"n": len(segments)})
    changed = [
        base for group in by_account.values() if len(base := [x for x in group if x.is_prorated and x.kind == BASE]) > 1
    ]
    for code, place in ((LAST_PACKAGE, -1), (FIRST_PACKAGE, 0)):
        if changed:
            full = sum(group[place].amount_for(group[place].of_days or 1, places) for group in changed)
            yield DifferenceReason(code, sum(_sum(group) for group in changed) - full, {"n": len(changed)})
    partly = [line for line in lines if line.exists and not line.is_prorated and line.exists < (line.of_days or 0)]
    if partly:
        short = sum(line.amount_for(line.exists or 0, places) for line in partly)
        yield DifferenceReason(PRORATED, _sum(partly) - short, {"n": len(partly)})


def _pairs(whole: Iterable[DifferenceReason]) -> Iterator[tuple[DifferenceReason, DifferenceReason]]:
    """Yield two reasons that are about lines of different kinds, so that no line counts twice."""
    chosen = [each for each in whole if each.code not in (ACCOUNT, DISCOUNT)]
    for first, second in combinations(chosen, 2):
        if _kind_of(first) != _kind_of(second):
            yield first, second


def _kind_of(reason: DifferenceReason) -> str:
    """Return the kind of the reason's lines. What is prorated is base fees, and add-ons beside them."""
    return str(reason.details.get("kind", BASE))


def _without_discount(
    whole: Iterable[DifferenceReason], lines: Iterable[OurLine]
) -> Iterator[tuple[DifferenceReason, DifferenceReason]]:
    """Yield a kind that theirs lacks, and the discounts of all other lines."""
    for reason in whole:
        if reason.code == KIND:
            others = [line for line in lines if line.discount and line.kind != reason.details["kind"]]
            if others:
                yield reason, DifferenceReason(DISCOUNT, -sum(line.discount for line in others), {"n": len(others)})


def _single(difference: int, lines: Iterable[OurLine]) -> DifferenceReason | None:
    found = [line for line in lines if line.amount == difference]
    if not found:
        return None
    line = found[0]
    details = {"kind": line.kind, "offering": line.offering, "n": line.n, "alike": len(found)}
    return DifferenceReason(LINE, difference, details | ({"account": line.account} if line.account else {}))


def _set_of_lines(difference: int, lines: Iterable[OurLine]) -> DifferenceReason | None:
    """Return the only set of two or three lines of one kind that is the difference."""
    by_kind: dict[str, list[OurLine]] = defaultdict(list)
    for line in lines:
        if line.amount:
            by_kind[line.kind].append(line)
    for size in range(2, MOST_IN_A_SET + 1):
        found = [
            (kind, chosen)
            for kind, group in by_kind.items()
            if size < len(group) <= MOST_OF_A_KIND
            for chosen in combinations(group, size)
            if _sum(chosen) == difference
        ]
        if len(found) == 1:
            kind, chosen = found[0]
            return DifferenceReason(LINES, difference, {"kind": kind, "lines": [line.n for line in chosen]})
        if found:
            return None
    return None


def _tax(theirs: int, ours: int, difference: int) -> list[DifferenceReason]:
    """Return the tax that theirs includes, if it is a whole percentage of ours."""
    if min(abs(ours), abs(theirs)) < _LEAST_FOR_TAX:
        return []
    for percent in TAX_PERCENTS:
        if half_up(ours * (100 + percent), 100) == theirs:
            return [DifferenceReason(TAX, difference, {"percent": percent})]
    return []


def _sum(lines: Iterable[OurLine]) -> int:
    return sum(line.amount for line in lines)


def days_between(first: str, last: str) -> int:
    """Return how many days two ISO dates and those between them are."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
