"""The effect of a change of offerings on the statement of the billing period: the day of the change counts.

The customer is rated twice, as it is and with the changed offerings from that day on. Nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from billing.models import LineKind
from billing.pricing.quotes.monthly import Items
from billing.pricing.rating.books import CustomerPrices
from billing.pricing.rating.case import (
    Case,
    HeldItem,
    OfferingSpan,
    RatedAccount,
    RatedPeriod,
    UsageAtChange,
)
from billing.pricing.rating.engine import rate_account, rate_accounts
from billing.pricing.rating.lines import OpenEnd, RatedLine, in_order
from billing.pricing.statements.amounts import minor_text, places_of
from billing.pricing.statements.cases import PreparedCase
from billing.pricing.statements.drafts import Rater
from billing.pricing.statements.span_days import FIRST_DAY
from billing.usage.periods import Period, period_of
from customers.models import Account


@dataclass(frozen=True, slots=True)
class KindMove:
    """The lines of one kind on the statement, without and with the change."""

    kind: str
    before_minor: int
    after_minor: int
    currency: str

    @property
    def label(self) -> str:
        return str(LineKind(self.kind).label)

    @property
    def before(self) -> str:
        return minor_text(self.before_minor, self.currency)

    @property
    def after(self) -> str:
        return minor_text(self.after_minor, self.currency)

    @property
    def moved_minor(self) -> int:
        return self.after_minor - self.before_minor

    @property
    def moved(self) -> str:
        return minor_text(self.moved_minor, self.currency, signed=True)


@dataclass(frozen=True, slots=True)
class StatementChange:
    """Lines of the account in the billing period of the change, and the customer's minimum commit.

    `is_least`: usage of the period is not final, so overage can grow; before the period has begun there is none.
    `days` of `of_days` have the new offerings.
    """

    period: Period
    on: date
    rows: Sequence[KindMove]
    currency: str
    is_least: bool
    has_begun: bool

    @property
    def month(self) -> date:
        return self.period.month

    @property
    def days(self) -> int:
        return (self.period.end_on - self.on).days + 1

    @property
    def of_days(self) -> int:
        return (self.period.end_on - self.period.start_on).days + 1

    @property
    def total(self) -> KindMove:
        before, after = sum(each.before_minor for each in self.rows), sum(each.after_minor for each in self.rows)
        return KindMove(LineKind.BASE, before, after, self.currency)


def statement_effect(
    account: Account, *, now_items: Items, after_items: Items, on: date, now: datetime
) -> StatementChange | None:
    """Return what a change on the day `on` makes of the statement, or None if no contract prices that period.

    `now_items` count where nothing is known of the account's offerings before the change.
    """
    period = _period_on(account, on)
    rater = Rater(period.month, now=now)
    prepared = _case_of(rater, account, on)
    if prepared is None:
        prepared = _future_case(rater, account, period, now_items)
        if prepared is None:
            return None
    case = prepared.case
    index = next(n for n, each in enumerate(case.accounts) if each.id == str(account.pk))
    own = case.accounts[index]
    rated = next(each for each in own.periods if each.start <= on <= each.end)
    changed = _changed(own, rated, now_items, after_items, on, today=rater.world.today)
    prices = CustomerPrices(rater.books.of(case), case.contracts, case.customer)
    before, after = (_lines(case, index, each, prices) for each in (own, changed))
    return StatementChange(
        period=Period(rated.start, rated.end),
        on=on,
        rows=_rows(before, after, case.currency),
        currency=case.currency,
        has_begun=rated.start <= rater.world.today,
        is_least=rated.status in ("open", "stale", "missing") or any(each.amount_high is not None for each in after),
    )


def _period_on(account: Account, on: date) -> Period:
    known = None
    if account.usage_start_on and account.usage_end_on:
        known = Period(account.usage_start_on, account.usage_end_on)
        if known.start_on <= on <= known.end_on:
            return known
    return period_of(None, None, known=known, on=on)


def _case_of(rater: Rater, account: Account, on: date) -> PreparedCase | None:
    """Return the customer's case with a billing period of the account on that day."""
    for inputs in rater.inputs_of([account.customer_id]):
        for prepared in inputs.cases(rater.catalog, rater.month):
            if prepared.case.currency and any(
                each.id == str(account.pk) and any(period.start <= on <= period.end for period in each.periods)
                for each in prepared.case.accounts
            ):
                return prepared
    return None


def _future_case(rater: Rater, account: Account, period: Period, items: Items) -> PreparedCase | None:
    """Return a case of the account alone in a period that has no figure yet, or that was never read."""
    for inputs in rater.inputs_of([account.customer_id]):
        agreement = next((each for each in inputs.agreements if each.holds_on(period.start_on)), None)
        if agreement is None or account.is_test:
            continue
        alone = RatedAccount(
            id=str(account.pk),
            name="",
            provider=account.connection.kind,
            offerings=(OfferingSpan(FIRST_DAY, _held(items)),),
            periods=(RatedPeriod(period.start_on, period.end_on, used=0, status="open"),),
        )
        lists = rater.catalog.of(agreement.terms.price_lists)
        case = Case("sell", agreement.currency, period.month, str(account.customer_id), lists, (agreement.terms,))
        return PreparedCase(replace(case, accounts=(alone,)))
    return None


def _held(items: Items) -> tuple[HeldItem, ...]:
    return tuple(HeldItem(name, quantity) for name, quantity in items)


def _changed(
    account: RatedAccount, period: RatedPeriod, now_items: Items, after_items: Items, on: date, *, today: date
) -> RatedAccount:
    """Return the account with other offerings from a day on. The last change of a day decides it."""
    earlier = tuple(span for span in account.offerings if span.from_on < on) or (
        OfferingSpan(FIRST_DAY, _held(now_items)),
    )
    at_changes = tuple(each for each in period.at_changes if each.on < on)
    if on == today and period.used is not None:
        at_changes = (*at_changes, UsageAtChange(on, period.used, period.high))
    periods = tuple(replace(each, at_changes=at_changes) if each is period else each for each in account.periods)
    return replace(account, offerings=(*earlier, OfferingSpan(on, _held(after_items))), periods=periods)


def _lines(case: Case, index: int, account: RatedAccount, prices: CustomerPrices) -> Sequence[RatedLine]:
    """Return the account's lines, and with a minimum commit in the contract its true-up line: it needs all accounts."""
    contracts = [each for each in case.contracts if each.commit]
    if not contracts:
        return in_order(rate_account(account, prices, case.month)[0])
    accounts = [*case.accounts[:index], account, *case.accounts[index + 1 :]]
    lines = rate_accounts(accounts, prices, case.month).lines
    return [each for each in lines if each.account in (account.id, None)]


def _rows(before: Iterable[RatedLine], after: Iterable[RatedLine], currency: str) -> list[KindMove]:
    places = places_of(currency)
    sums: dict[str, list[int]] = {}
    for place, lines in enumerate((before, after)):
        for line in lines:
            sums.setdefault(line.kind, [0, 0])[place] += _least_minor(line, places)
    order = list(LineKind.values)
    return [KindMove(kind, sums[kind][0], sums[kind][1], currency) for kind in sorted(sums, key=order.index)]


def _least_minor(line: RatedLine, places: int) -> int:
    high = line.amount_high
    least = line.amount if high is None or isinstance(high, OpenEnd) else min(line.amount, high)
    return int(Decimal(least).scaleb(places))
