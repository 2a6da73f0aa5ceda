"""Rates accounts: from spans, figures and prices to statement lines. The rules are in docs/decisions/rating.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce
from itertools import takewhile
from typing import NamedTuple

from billing.pricing.rating import case as inputs
from billing.pricing.rating.account_lines import PeriodLines
from billing.pricing.rating.books import Book, Charge, CustomerPrices, NoPrices, OfferingCharges, PriceBooks
from billing.pricing.rating.checks import last_day_of
from billing.pricing.rating.commit import commit_line, eligible_sums
from billing.pricing.rating.currency import EXACT, converted
from billing.pricing.rating.lines import (
    OPEN_ENDED,
    OpenEnd,
    RatedLine,
    RatingFinding,
    RatingResult,
    RatingTotal,
    in_order,
)
from billing.pricing.rating.overage import Package, Stretch, add_overage
from billing.pricing.rating.shares import share_invoice
from billing.pricing.rating.spans import DAY, Held, above_included, days_of, held_runs, value_runs, without_states

Items = dict[str, int]
NO_STATES = frozenset[str]()
BANNED_ONLY = frozenset({inputs.BANNED})
# The offering that every account of a provider has, if a price list prices it.
EVERY_ACCOUNT = ""


def rate(case: inputs.Case) -> RatingResult:
    """Rate a whole case."""
    books = PriceBooks(case.side, case.currency, case.price_lists)
    result = rate_accounts(case.accounts, CustomerPrices(books, case.contracts, case.customer), case.month)
    shares = share_invoice(case.invoice, case.currency) if case.invoice else []
    exchanged = _converted(result.total, case.exchange_rate) if case.exchange_rate else None
    return RatingResult(result.lines, result.total, result.findings, tuple(shares), exchanged)


def rate_accounts(accounts: Iterable[inputs.RatedAccount], prices: CustomerPrices, month: date) -> RatingResult:
    """Rate the accounts of one customer in one statement month, whose first day is given."""
    lines: list[RatedLine] = []
    findings: list[RatingFinding] = []
    for account in accounts:
        of_account, found = rate_account(account, prices, month)
        lines += of_account
        findings += found
    contract = prices.contract_on(last_day_of(month))
    if contract and contract.commit:
        places = prices.books.places
        commit = commit_line(contract, contract.commit, eligible_sums(lines, places), month, places)
        lines += [commit] if commit else []
    return RatingResult(tuple(in_order(lines)), _total(lines, prices.books), tuple(findings))


def rate_account(
    account: inputs.RatedAccount, prices: CustomerPrices, month: date
) -> tuple[list[RatedLine], list[RatingFinding]]:
    """Rate the billing periods of an account that end in the month. The lines of a period are in the order of R7."""
    lines: list[RatedLine] = []
    findings: list[RatingFinding] = []
    if account.test and prices.books.side == inputs.SELL:
        return lines, findings
    for period in account.periods:
        if (period.end.year, period.end.month) != (month.year, month.month) or not _is_rated(account, period, prices):
            continue
        out = PeriodLines(account, period, prices.books.places, days_of(period.start, period.end))
        _rate_period(out, prices)
        lines += out.lines
        findings += out.findings
    return lines, findings


def _is_rated(account: inputs.RatedAccount, period: inputs.RatedPeriod, prices: CustomerPrices) -> bool:
    """Tell if the period is billed to this customer: by the owner on its last day, and since billing started."""
    if account.billing_starts_on and period.end < account.billing_starts_on:
        return False
    owner = None if account.owners else prices.customer
    for span in account.owners:
        if span.from_on <= period.end:
            owner = span.customer
    return owner == prices.customer


class Existence(NamedTuple):
    """The days of a period on which the account exists, with what it had and its states on them."""

    first: date
    last: date
    items: list[tuple[date, date, Items]]
    states: list[tuple[date, date, str]]
    known_from: date
    is_new: bool


def _rate_period(out: PeriodLines, prices: CustomerPrices) -> None:
    """Add the lines of the period, or a finding that says why it has none."""
    account, period = out.account, out.period
    first = max(period.start, account.created_on or period.start)
    last = min(period.end, _deleted_on(account) or period.end)
    if last < first:
        _find_usage(out, "usage_without_account")
        return
    try:
        book = prices.at(account.provider, period.start)
    except NoPrices as error:
        out.find(error.code, provider=account.provider)
        return
    _add_lines(out, book, _existence(out, book, first, last), prices.books.side)


def _find_usage(out: PeriodLines, code: str) -> None:
    """Add a finding for emails that nothing charges, if there are any."""
    if out.period.used or out.period.high:
        out.find(code, used=out.period.used)


def _add_lines(out: PeriodLines, book: Book, existence: Existence, side: str) -> None:
    priced = _charges(out, book, existence)
    for charges, held in priced:
        if charges.base:
            _add_base(out, charges.base, held, existence, side)
    for charges, held in priced:
        for addon in charges.addons:
            _add_addon(out, addon, held, existence, side)
    if side == inputs.COST and all(state == inputs.BANNED for *_days, state in existence.states):
        _find_usage(out, "usage_while_banned")
    elif stretches := _stretches(out, book, existence):
        add_overage(out, stretches, side)
    for charges, held in priced:
        if charges.one_time:
            _add_one_time(out, charges.one_time, held, existence, side)


def _deleted_on(account: inputs.RatedAccount) -> date | None:
    """Return the day of the deletion: if it isn't given, the first day of the last states if they are *deleted*."""
    found = account.deleted_on
    if found is None:
        for span in takewhile(lambda span: span.state == inputs.DELETED, reversed(account.states)):
            found = span.from_on
    return found


def _existence(out: PeriodLines, book: Book, first: date, last: date) -> Existence:
    account, period = out.account, out.period
    every: Items = {EVERY_ACCOUNT: 1} if book.charges(EVERY_ACCOUNT) else {}
    changes = (
        (span.from_on, {**every, **{item.name: item.quantity for item in span.items}}) for span in account.offerings
    )
    items = value_runs(changes, first, last, every)
    # A deletion doesn't end a suspension or a ban: the day of the deletion is billed as the state before it is.
    changed = ((span.from_on, span.state) for span in account.states if span.state != inputs.DELETED)
    states = value_runs(changed, first, last, "active")
    known_from = first
    if account.offerings and account.offerings[0].from_on > first:
        known_from = account.offerings[0].from_on
        until = min(last, known_from - DAY)
        out.find("offerings_unknown", **{"from": first.isoformat(), "until": until.isoformat()})
    for span in account.offerings:
        since = span.uncertain_since
        if since and since < span.from_on and since <= last and span.from_on > first:
            out.find("uncertain_day", **{"from": span.from_on.isoformat(), "uncertain_since": since.isoformat()})
    is_new = account.created_on is not None and period.start <= account.created_on <= period.end
    return Existence(first, last, items, states, known_from, is_new)


def _charges(out: PeriodLines, book: Book, existence: Existence) -> list[tuple[OfferingCharges, list[Held]]]:
    """Return what each offering of the period costs, and how much of it was held. Note what has no price."""
    names = dict.fromkeys(name for *_days, items in existence.items for name, quantity in items.items() if quantity)
    found = []
    for name in names:
        charges = book.charges(name)
        if charges is None:
            out.find("unpriced", offering=name)
        else:
            found.append((charges, held_runs(existence.items, name)))
    if not names and not out.account.offerings:
        out.find("unpriced", offering=EVERY_ACCOUNT)
    return found


def _billed(
    out: PeriodLines, price: inputs.BasePrice | inputs.AddonPrice, held: list[Held], existence: Existence, side: str
) -> list[Held]:
    """Return the billed runs: without days that are not billed, and to the period's edges where the price says so."""
    runs = without_states(held, existence.states, _left_out(price, side))
    period, first, last = out.period, existence.first, existence.last
    if runs and runs[0].first == first and price.on_start == inputs.FULL:
        runs[0] = Held(period.start, runs[0].last, runs[0].quantity)
    if runs and runs[-1].last == last and price.on_close == inputs.FULL:
        runs[-1] = Held(runs[-1].first, period.end, runs[-1].quantity)
    return runs


def _left_out(price: inputs.BasePrice | inputs.AddonPrice, side: str) -> frozenset[str]:
    if side == inputs.COST:
        return BANNED_ONLY
    return NO_STATES if price.bill_when_suspended else inputs.SUSPENDED_STATES


def _add_base(out: PeriodLines, charge: Charge, held: list[Held], existence: Existence, side: str) -> None:
    price = charge.price
    if not isinstance(price, inputs.BasePrice):
        return
    for run in _billed(out, price, held, existence, side):
        _add_segment(out, charge, run, existence)


def _add_segment(out: PeriodLines, charge: Charge, run: Held, existence: Existence, **because: object) -> None:
    exists = {"from": existence.first.isoformat(), "until": existence.last.isoformat()}
    out.add_held(charge, run.first, run.last, run.quantity, days_of(run.first, run.last), exists=exists, **because)


def _add_addon(out: PeriodLines, charge: Charge, held: list[Held], existence: Existence, side: str) -> None:
    price = charge.price
    if not isinstance(price, inputs.AddonPrice):
        return
    if price.prorated:
        for run in above_included(_billed(out, price, held, existence, side), price.included):
            _add_segment(out, charge, run, existence, included=price.included)
        return
    runs = above_included(without_states(held, existence.states, _left_out(price, side)), price.included)
    if runs:
        spans = [{"from": run.first.isoformat(), "until": run.last.isoformat(), "above": run.quantity} for run in runs]
        highest = max(run.quantity for run in runs)
        period = out.period
        out.add_held(charge, period.start, period.end, highest, out.of_days, included=price.included, highest_of=spans)


def _add_one_time(out: PeriodLines, charge: Charge, held: list[Held], existence: Existence, side: str) -> None:
    """Add the rises of the quantity above the included one. What was there on the first day is one in a new account."""
    price, period = charge.price, out.period
    if not isinstance(price, inputs.OneTimePrice):
        return
    rises, units, before, ended = [], 0, 0, None
    for run in above_included(held, price.included):
        known_before = before if ended == run.first - DAY else 0
        at_start = run.first in (existence.first, existence.known_from) and not existence.is_new
        if at_start and run.quantity > _above_before(out, price):
            out.find("one_time_on_first_day", offering=price.offering, units=run.quantity - _above_before(out, price))
        rise = 0 if at_start else max(0, run.quantity - known_before)
        before, ended = run.quantity, run.last
        if rise and not (side == inputs.COST and _is_banned(existence, run.first)):
            rises.append({"on": run.first.isoformat(), "units": rise})
            units += rise
    if units:
        out.add_held(charge, period.start, period.end, units, out.of_days, included=price.included, rises=rises)


def _above_before(out: PeriodLines, price: inputs.OneTimePrice) -> int:
    """Return the quantity above the included one on the day before the period. It is endless if that is not known."""
    spans = [span for span in out.account.offerings if span.from_on < out.period.start]
    if not spans or price.offering == EVERY_ACCOUNT:
        return inputs.MOST_HELD
    held = next((item.quantity for item in spans[-1].items if item.name == price.offering), 0)
    return max(0, held - price.included)


def _is_banned(existence: Existence, day: date) -> bool:
    return any(first <= day <= last and state == inputs.BANNED for first, last, state in existence.states)


def _stretches(out: PeriodLines, book: Book, existence: Existence) -> list[Stretch]:
    """Return the packages over all days of the period: the first one also before the account existed, the last one
    also after its deletion. Several packages at once have no rule, and none is returned."""
    runs = [run for run in existence.items if run[1] >= existence.known_from] or existence.items
    found: list[Stretch] = []
    for first, last, items in runs:
        packages = _packages(book, items)
        if len(packages) > 1:
            out.find("several_packages", offerings=[each.price.offering for each in packages])
            return []
        package = packages[0] if packages else None
        if found and found[-1][2] == package:
            found[-1] = (found[-1][0], last, package)
        else:
            found.append((first, last, package))
    found[0] = (out.period.start, *found[0][1:])
    found[-1] = (found[-1][0], out.period.end, found[-1][2])
    return found


def _packages(book: Book, items: Items) -> list[Package]:
    """Return the packages among what is held. That of every account counts where there is no other."""
    found: list[Package] = []
    of_every_account: list[Package] = []
    for name, quantity in items.items():
        charges = book.charges(name) if quantity else None
        if charges and charges.overage:
            (found if name else of_every_account).append(Package(charges.overage, quantity))
    return found or of_every_account


def _total(lines: Sequence[RatedLine], books: PriceBooks) -> RatingTotal:
    zero = Decimal(0).scaleb(-books.places)
    high: Decimal | OpenEnd = zero
    for line in lines:
        most = line.most
        high = OPEN_ENDED if isinstance(most, OpenEnd) or isinstance(high, OpenEnd) else EXACT.add(high, most)
    return RatingTotal(books.currency, reduce(EXACT.add, (line.amount for line in lines), zero), high)


def _converted(total: RatingTotal, exchange_rate: inputs.ConversionRate) -> RatingTotal:
    source = total.currency
    target = exchange_rate.per_one if source == exchange_rate.units_of else exchange_rate.units_of
    high = total.amount_high
    return RatingTotal(
        target,
        converted(total.amount, source, target, exchange_rate),
        high if isinstance(high, OpenEnd) else converted(high, source, target, exchange_rate),
    )
