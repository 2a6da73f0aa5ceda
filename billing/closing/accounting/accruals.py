"""Accrued revenue at the end of a calendar month: rated so far of the billing periods that end later.

Each account's open period is rated by the engine as known at the cut-off, as if nothing changed until its end. Of a
line for time the elapsed days are accrued, rounded half up once; overage and one-time fees are accrued as rated. There
is no minimum commit. The rows depend on nothing that comes later, except prices and contracts published since.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from billing.closing.accounting.cutoff import facts_at_cut_off
from billing.closing.accounting.rows import kind_words, line_description
from billing.models import LineKind
from billing.pricing.rating.books import CustomerPrices
from billing.pricing.rating.case import SELL
from billing.pricing.rating.case import Case as RatingCase
from billing.pricing.rating.currency import as_amount, as_minor_units, half_up, minor_unit_places
from billing.pricing.rating.engine import rate_account
from billing.pricing.rating.lines import RatedLine
from billing.pricing.rating.spans import days_of
from billing.pricing.references import customer_reference
from billing.pricing.statements.agreements import Agreement, PriceCatalog, agreements_of
from billing.pricing.statements.cases import rated_account
from billing.pricing.statements.facts import AccountFacts, World
from billing.pricing.statements.numbers import billing_terms
from billing.pricing.statements.results import NO_CONTRACT, NOTED, Books
from billing.usage.periods import last_day, month_after
from customers.models import Account, Customer
from portal.consistent_reads import streamed_read

HEADER = (
    "date", "debit account", "credit account", "amount", "currency", "customer reference", "customer", "text", "entry",
    "account", "missing", "row id",
)  # fmt: skip
TOGETHER = 1000
# Lines that are accrued as rated: what they charge for has been.
_AS_RATED = frozenset({LineKind.OVERAGE, LineKind.ONE_TIME})
# Findings of every open period, or ones that another finding says as well.
_EXPECTED = NOTED | {"not_final", "never_read", "one_time_on_first_day", "usage_at_change_unknown"}


class AccruedLine(NamedTuple):
    """The accrued part of a rated line. `of_days` 0: all of it."""

    kind: str
    offering: str
    start: date
    end: date
    tier: int
    days: int
    of_days: int
    rated_minor: int
    amount_minor: int
    account_code: str


@dataclass(slots=True)
class AccountAccrual:
    """The accrued lines of an account, and codes of what is missing."""

    account: AccountFacts
    currency: str
    lines: list[AccruedLine]
    missing: tuple[str, ...]


@dataclass(slots=True)
class AccrualSums:
    """Sums of a month: amounts by currency and account code, accounts by what is missing."""

    accounts: int = 0
    amounts: Counter[tuple[str, str]] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, accrual: AccountAccrual, default_code: str) -> None:
        self.accounts += 1
        self.missing.update(accrual.missing)
        for line in accrual.lines:
            self.amounts[accrual.currency, line.account_code or default_code] += line.amount_minor


class Accruer:
    """Rates the open billing periods at the end of one month."""

    def __init__(self, month: date, *, now: datetime) -> None:
        self.month, self.last = month, last_day(month)
        self.world, self.catalog, self.books = World(month, now=now), PriceCatalog(), Books()

    def accruals(self) -> Iterator[AccountAccrual]:
        """Yield the accounts in the order of their keys, some thousand at a time."""
        for some in self.chunks():
            yield from some

    def chunks(self) -> Iterator[list[AccountAccrual]]:
        accounts, after = Account.objects.order_by("pk"), 0
        while pks := list(accounts.filter(pk__gt=after).values_list("pk", flat=True)[:TOGETHER]):
            after = pks[-1]
            yield self._chunk(facts_at_cut_off(Account.objects.filter(pk__in=pks), self.world))

    def _chunk(self, accounts: Sequence[AccountFacts]) -> list[AccountAccrual]:
        agreements = agreements_of({each.customer for each in accounts}, until=self.last)
        self.catalog.load(name for each in agreements.values() for one in each for name in one.terms.price_lists)
        prices: dict[tuple[int, str], CustomerPrices] = {}
        return [self._accrual(each, agreements.get(each.customer, ()), prices) for each in accounts]

    def _accrual(
        self,
        account: AccountFacts,
        agreements: Sequence[Agreement],
        prices: dict[tuple[int, str], CustomerPrices],
    ) -> AccountAccrual:
        (period,) = account.periods
        currency = next((each.currency for each in agreements if each.holds_on(period.start_on)), "")
        if not currency:
            return AccountAccrual(account, "", [], (NO_CONTRACT,))
        key = (account.customer, currency)
        if key not in prices:
            prices[key] = self._prices(account.customer, currency, agreements)
        rated = rated_account(account, [])
        lines, findings = rate_account(rated, prices[key], period.end_on.replace(day=1))
        places = minor_unit_places(currency)
        accrued = [self._accrued(line, places) for line in lines]
        missing = dict.fromkeys(each.code for each in findings if each.code not in _EXPECTED)
        return AccountAccrual(account, currency, [each for each in accrued if each.amount_minor], tuple(missing))

    def _prices(self, customer: int, currency: str, agreements: Iterable[Agreement]) -> CustomerPrices:
        used = [each for each in agreements if each.currency == currency]
        lists = self.catalog.of(name for each in used for name in each.terms.price_lists)
        terms = tuple(each.terms for each in used)
        case = RatingCase(SELL, currency, self.month, str(customer), price_lists=lists, contracts=terms)
        return CustomerPrices(self.books.of(case), terms, str(customer))

    def _accrued(self, line: RatedLine, places: int) -> AccruedLine:
        rated = amount = as_minor_units(line.amount, places)
        days = of_days = 0
        if line.kind not in _AS_RATED:
            of_days = days_of(line.service_start, line.service_end)
            days = max(0, days_of(line.service_start, min(line.service_end, self.last)))
            amount = half_up(rated * days, of_days)
        return AccruedLine(
            line.kind, line.offering, line.service_start, line.service_end, line.tier, days, of_days, rated, amount,
            line.account_code,
        )  # fmt: skip


def accrual_sums(month: date, *, now: datetime) -> AccrualSums:
    sums, code = AccrualSums(), billing_terms().default_account_code
    for accrual in Accruer(month, now=now).accruals():
        sums.add(accrual, code)
    return sums


def accrual_rows(
    month: date, *, now: datetime, on_end: Callable[[AccrualSums], None] | None = None
) -> Iterator[Sequence[Any]]:
    """Yield the rows of the journal: each accrual and, on the next row, its reversal on the next month's first day.

    `on_end` gets the sums once all rows were read.
    """
    sums = AccrualSums()
    with streamed_read():
        for some in Accruer(month, now=now).chunks():
            yield from _journal(month, some, sums)
    if on_end:
        on_end(sums)


def _journal(month: date, some: Sequence[AccountAccrual], sums: AccrualSums) -> Iterator[Sequence[Any]]:
    terms, words, last = billing_terms(), kind_words(), last_day(month)
    customers = _customers({each.account.customer for each in some if each.lines}, last)
    for accrual in some:
        sums.add(accrual, terms.default_account_code)
        reference, name = customers.get(accrual.account.customer, ("", ""))
        for line in accrual.lines:
            revenue = line.account_code or terms.default_account_code
            amount = as_amount(line.amount_minor, minor_unit_places(accrual.currency))
            name_of_line = f"{line.kind}-{line.offering}-{line.start}-{line.tier}"
            row_id = f"{month:%Y-%m}-{accrual.account.public_id.hex}-{name_of_line}"
            for on, debit, credit, entry in (
                (last, terms.accrued_account_code, revenue, "accrual"),
                (month_after(month), revenue, terms.accrued_account_code, "reversal"),
            ):
                yield [
                    on, debit, credit, amount, accrual.currency, reference, name,
                    _text(line, words[line.kind], accrual.currency), entry, accrual.account.label,
                    " ".join(accrual.missing), f"{row_id}-{entry}",
                ]  # fmt: skip


def _text(line: AccruedLine, kind: str, currency: str) -> str:
    dates = f"{line.start} to {line.end}"
    words = f"{line_description(kind, line.offering)}, {dates}"
    if not line.of_days:
        return words
    rated = as_amount(line.rated_minor, minor_unit_places(currency))
    return f"{words}: {line.days}/{line.of_days} x {rated}"


def _customers(pks: Iterable[int], day: date) -> dict[int, tuple[str, str]]:
    """Return by customer its reference on a day, and its name."""
    rows = Customer.objects.filter(pk__in=pks).annotate(reference=customer_reference(day))
    return {pk: (reference, name) for pk, reference, name in rows.values_list("pk", "reference", "company_name")}


def sums_for_page(sums: AccrualSums) -> dict[str, list[tuple[str, int]]]:
    """Return amounts in minor units by currency: account code and amount, the largest first."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for (currency, code), minor in sums.amounts.items():
        found[currency].append((code, minor))
    return {currency: sorted(found[currency], key=lambda each: (-each[1], each[0])) for currency in sorted(found)}
