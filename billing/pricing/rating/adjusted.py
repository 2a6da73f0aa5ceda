"""Adjustments (R9): what a figure that changed after its month was closed changes of the month's lines.

The month is rated again with the new figure, by the prices, contracts and spans of the case, and every line that
differs gives its difference. Figures are taken one after the other, and nothing is netted between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from billing.pricing.rating import case as inputs
from billing.pricing.rating.books import CustomerPrices, PriceBooks
from billing.pricing.rating.checks import last_day_of
from billing.pricing.rating.commit import Eligible, commit_line, eligible_sums
from billing.pricing.rating.currency import EXACT
from billing.pricing.rating.engine import rate_account
from billing.pricing.rating.lines import ORDER, OpenEnd, RatedLine, RatingFinding, line_to_json, shown_number

# Findings of a figure whose amount is not certain. It gives no lines until it is decided.
UNDECIDED = frozenset({"missing", "disputed", "not_final", "interval", "open_ended"})


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Changes that one late figure makes. `lines` have differences as quantity, gross, discount, and amount, and the
    key of the line that they correct. `undecided` are codes of findings: the figure isn't exact, so nothing is changed,
    and the next one is compared with the last exact one. `before` is None for a billing period that the case lacked."""

    late: inputs.LateFigure
    before: inputs.RatedPeriod | None
    lines: tuple[RatedLine, ...]
    undecided: tuple[str, ...] = ()


def adjustments_of(case: inputs.Case, prices: CustomerPrices | None = None) -> list[Adjustment]:
    """Return what each late figure of the case changes, in their order."""
    if prices is None:
        books = PriceBooks(case.side, case.currency, case.price_lists)
        prices = CustomerPrices(books, case.contracts, case.customer)
    month = _RatedMonth(case, prices)
    return [month.adjusted(late) for late in case.late_figures]


class _RatedMonth:
    """The lines of a closed month, account by account, as figures that came later left them."""

    def __init__(self, case: inputs.Case, prices: CustomerPrices) -> None:
        self.month, self.prices = case.month, prices
        self.accounts = {each.id: each for each in case.accounts}
        self.contract = prices.contract_on(last_day_of(case.month))
        self._lines: dict[str, list[RatedLine]] = {}
        # Where the period that late figures are about begins by now, by account and its first day when it was closed.
        self._begins: dict[tuple[str, date], date] = {}
        self._eligible: Eligible | None = None

    def adjusted(self, late: inputs.LateFigure) -> Adjustment:
        account, period = self.accounts[late.account], late.period
        name = (late.account, late.replaces or period.start)
        begins = self._begins.get(name, name[1])
        before = next((each for each in account.periods if each.start == begins), None)
        if before and _figure_of(before) == _figure_of(period):
            return Adjustment(late, before, ())
        changed = replace(account, periods=_periods_with(account.periods, begins, period))
        lines, findings = rate_account(changed, self.prices, self.month)
        if undecided := _undecided(findings, period):
            return Adjustment(late, before, (), undecided)
        old = [*self._of(late.account), *self._commit()]
        self.accounts[late.account] = changed
        self._replace_lines(late.account, lines)
        self._begins[name] = period.start
        return Adjustment(late, before, tuple(line_differences(old, [*lines, *self._commit()])))

    def _of(self, account: str) -> list[RatedLine]:
        if account not in self._lines:
            self._lines[account] = rate_account(self.accounts[account], self.prices, self.month)[0]
        return self._lines[account]

    def _replace_lines(self, account: str, lines: list[RatedLine]) -> None:
        if self._eligible is not None:
            places = self.prices.books.places
            less = self._eligible.plus(eligible_sums(self._lines[account], places), -1)
            self._eligible = less.plus(eligible_sums(lines, places))
        self._lines[account] = lines

    def _commit(self) -> list[RatedLine]:
        if not self.contract or not self.contract.commit:
            return []
        places = self.prices.books.places
        if self._eligible is None:
            self._eligible = eligible_sums((line for account in self.accounts for line in self._of(account)), places)
        found = commit_line(self.contract, self.contract.commit, self._eligible, self.month, places)
        return [found] if found else []


def _figure_of(period: inputs.RatedPeriod) -> tuple[Any, ...]:
    return period.start, period.end, period.status, period.used, period.high


def _periods_with(
    periods: Iterable[inputs.RatedPeriod], begins: date, period: inputs.RatedPeriod
) -> tuple[inputs.RatedPeriod, ...]:
    """Return the periods with this one in the place of the one that begins on `begins`, and of all it overlaps."""
    kept = [each for each in periods if each.start != begins and (each.end < period.start or period.end < each.start)]
    return tuple(sorted([*kept, period], key=lambda each: each.start))


def _undecided(findings: Iterable[RatingFinding], period: inputs.RatedPeriod) -> tuple[str, ...]:
    codes = [each.code for each in findings if each.period_start == period.start and each.code in UNDECIDED]
    return tuple(dict.fromkeys(codes))


def line_differences(before: Iterable[RatedLine], after: Iterable[RatedLine]) -> Iterator[RatedLine]:
    """Yield a line for each line that differs, in the order of R7; what is gone or has another price is reversed first.

    In mode volume a total in another tier is another line, so it gives a reversal at the old rate and a line at the
    new one.
    """
    old = {line.key: line for line in before}
    new = {line.key: line for line in after}
    same = {key for key in old.keys() & new.keys() if _price_of(old[key]) == _price_of(new[key])}
    found = [_difference(line, None) for key, line in old.items() if key not in same]
    found += [_difference(old[key] if key in same else None, line) for key, line in new.items()]
    changed = [line for line in found if line.quantity or line.gross or line.discount]
    yield from sorted(changed, key=lambda line: ORDER.index(line.kind))


def _price_of(line: RatedLine) -> tuple[Decimal, int]:
    return line.rate, line.per


def _difference(before: RatedLine | None, after: RatedLine | None) -> RatedLine:
    line = after or before
    assert line is not None  # noqa: S101 - one of them is given
    high = after.quantity_high if after else None
    quantity, zero = before.quantity if before else 0, line.amount * 0
    return replace(
        line,
        quantity=(after.quantity if after else 0) - quantity,
        quantity_high=high - quantity if isinstance(high, int) else high,
        gross=_minus(after.gross if after else zero, before.gross if before else zero),
        discount=_minus(after.discount if after else zero, before.discount if before else zero),
        amount=_minus(after.amount if after else zero, before.amount if before else zero),
        amount_high=None,
        because={"contract": _contract_of(line), "before": _told(before), "after": _told(after)},
    )


def _minus(after: Decimal, before: Decimal) -> Decimal:
    found = EXACT.subtract(after, before)
    return found or abs(found)


def _told(line: RatedLine | None) -> dict[str, Any] | None:
    """Return what a page tells of the line before and after."""
    if line is None:
        return None
    return {
        "quantity": line.quantity,
        "quantity_high": shown_number(line.quantity_high),
        "amount": shown_number(line.amount),
        "steps": line.because["steps"],
    }


def _contract_of(line: RatedLine) -> str | None:
    found = line.because.get("contract") or (line.because.get("price") or {}).get("contract")
    return str(found) if found else None


def adjustments_to_json(found: Iterable[Adjustment]) -> list[dict[str, Any]]:
    """Write adjustments as `manage.py rate` prints them."""
    return [
        {
            "account": each.late.account,
            "period": {"start": each.late.period.start.isoformat(), "end": each.late.period.end.isoformat()},
            "from": figure_to_json(each.before) if each.before else None,
            "to": figure_to_json(each.late.period),
            "undecided": list(each.undecided),
            "lines": [line_to_json(line) for line in each.lines],
        }
        for each in found
    ]


def figure_to_json(period: inputs.RatedPeriod) -> Mapping[str, Any]:
    high: int | OpenEnd | None = period.high
    return {"status": period.status, "used": period.used, "high": high}
