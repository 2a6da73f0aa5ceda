"""Rating cases from the database: what a customer, or a connection, is rated from in a statement month.

    world = World(month, now=now)
    facts = by_customer(account_facts(accounts, world))
    for case in customer_cases(customer, facts[customer], agreements, catalog, month=month): ...

A case has one currency, that of the contract in force on the first day of each billing period in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time

from billing.pricing.rating.case import (
    COST,
    SELL,
    Case,
    HeldItem,
    ListPrices,
    OfferingSpan,
    RatedAccount,
    RatedPeriod,
    UsageAtChange,
)
from billing.pricing.rating.lines import RatingFinding
from billing.pricing.statements.agreements import Agreement, PriceCatalog, in_month
from billing.pricing.statements.facts import READ_FOR_CHANGE, UNCLEAR_STATES, AccountFacts, PeriodRow
from billing.pricing.statements.span_days import (
    FIRST_DAY,
    SpanRow,
    ValueChange,
    billing_zone,
    changes_of,
    day_in,
    deleted_on,
    offering_spans,
    state_spans,
)
from billing.usage.periods import DAY
from customers.models import AccountSpan
from customers.models.account import HALTED, AccountState

Kind, Source = AccountSpan.Kind, AccountSpan.Source


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """A rating case with what the engine does not need: findings of the database's own, and where each account is."""

    case: Case
    agreements: Sequence[Agreement] = ()
    findings: Sequence[RatingFinding] = ()
    accounts: dict[str, AccountFacts] = field(default_factory=dict)


def customer_cases(
    customer: int,
    accounts: Sequence[AccountFacts],
    agreements: Sequence[Agreement],
    catalog: PriceCatalog,
    *,
    month: date,
) -> list[PreparedCase]:
    """Return the cases of a customer, one of each currency; one without a currency where no contract is in force."""
    currencies: dict[str, list[AccountFacts]] = {}
    closing = in_month(agreements, month)
    if closing:
        currencies[closing.currency] = []
    unpriced = []
    for each in accounts:
        if each.is_test:
            continue
        for currency, periods in _by_currency(each, agreements).items():
            if currency:
                currencies.setdefault(currency, []).append(_with_periods(each, periods))
            else:
                unpriced.append(_with_periods(each, periods))
    if unpriced:
        # Their findings belong to a statement; it is the customer's first one, or one that has nothing else.
        currencies.setdefault(next(iter(currencies), ""), []).extend(unpriced)
    return [
        _customer_case(customer, currency, of_currency, agreements, catalog, month=month)
        for currency, of_currency in sorted(currencies.items())
    ]


def _by_currency(account: AccountFacts, agreements: Sequence[Agreement]) -> dict[str, list[PeriodRow]]:
    if len(agreements) == 1 and all(agreements[0].holds_on(each.start_on) for each in account.periods):
        return {agreements[0].currency: account.periods}
    found: dict[str, list[PeriodRow]] = {}
    for period in account.periods:
        currency = next((each.currency for each in agreements if each.holds_on(period.start_on)), "")
        found.setdefault(currency, []).append(period)
    return found


def _with_periods(account: AccountFacts, periods: list[PeriodRow]) -> AccountFacts:
    return account if periods is account.periods else replace(account, periods=periods)


def _customer_case(
    customer: int,
    currency: str,
    accounts: Sequence[AccountFacts],
    agreements: Sequence[Agreement],
    catalog: PriceCatalog,
    *,
    month: date,
) -> PreparedCase:
    used = [each for each in agreements if each.currency == currency]
    lists = catalog.of(name for each in used for name in each.terms.price_lists)
    return _prepared(
        Case(
            side=SELL,
            currency=currency,
            month=month,
            customer=str(customer),
            price_lists=lists,
            contracts=tuple(each.terms for each in used),
        ),
        accounts,
        used,
    )


def cost_case(
    accounts: Sequence[AccountFacts], prices: ListPrices | None, *, currency: str, month: date
) -> PreparedCase:
    """Return the case of some accounts of one connection, by what its provider charges."""
    case = Case(side=COST, currency=currency, month=month, customer="", price_lists=(prices,) if prices else ())
    return _prepared(case, accounts, ())


def _prepared(case: Case, accounts: Sequence[AccountFacts], agreements: Sequence[Agreement]) -> PreparedCase:
    findings: list[RatingFinding] = []
    rated = tuple(rated_account(each, findings) for each in accounts)
    facts = {str(each.pk): each for each in accounts}
    return PreparedCase(replace(case, accounts=rated), agreements, findings, facts)


def rated_account(account: AccountFacts, findings: list[RatingFinding]) -> RatedAccount:
    """Return the account as the engine takes it. Adds what the engine can't tell to `findings`."""
    states = account.changes(Kind.STATE)
    changes = account.changes(Kind.OFFERINGS)
    offerings = offering_spans(changes) if account.connection.has_offerings else ()
    if not offerings and account.connection.has_offerings:
        offerings = _by_figure(account.periods)
    created = _created_on(states, changes)
    for period in account.periods:
        findings.extend(_findings(account, period, states))
    return RatedAccount(
        id=str(account.pk),
        name=account.label,
        provider=account.connection.kind,
        test=account.is_test,
        billing_starts_on=account.connection.starts_on,
        created_on=created,
        deleted_on=deleted_on(states),
        offerings=offerings,
        states=state_spans(_known_states(states)),
        periods=tuple(rated_period(account, each, changes) for each in account.periods),
    )


def _by_figure(periods: Iterable[PeriodRow]) -> tuple[OfferingSpan, ...]:
    """Return the package that each figure names: offerings of the account were never read."""
    named = [each for each in periods if each.package]
    return tuple(
        OfferingSpan(each.start_on if n else FIRST_DAY, (HeldItem(each.package),)) for n, each in enumerate(named)
    )


def _created_on(states: Sequence[ValueChange], offerings: Sequence[ValueChange]) -> date | None:
    """Return the day on which the account was made; None if it existed before anything is known of it."""
    begun = next((each.on for each in states if each.value != AccountState.PENDING), None)
    if begun is None:
        begun = offerings[0].on if offerings else None
    return begun if begun and begun > FIRST_DAY else None


def _known_states(states: Sequence[ValueChange]) -> Sequence[ValueChange]:
    """Leave out a first state that could not be told, if another one follows."""
    return states[1:] if len(states) > 1 and states[0].value in UNCLEAR_STATES else states


def rated_period(account: AccountFacts, period: PeriodRow, changes: Sequence[ValueChange]) -> RatedPeriod:
    """Return the figure as the engine takes it; `changes` are those of the account's offerings."""
    at_changes = _usage_at_changes(account, period) if len(changes) > 1 else ()
    return RatedPeriod(
        start=period.start_on,
        end=period.end_on,
        used=period.used,
        high=None if period.high is None or period.used is None else max(period.high, period.used),
        status=period.status,
        at_changes=at_changes,
        allowed=period.allowed,
    )


def _usage_at_changes(account: AccountFacts, period: PeriodRow) -> tuple[UsageAtChange, ...]:
    """Return the usage at each day within the period on which the offerings changed, from readings around the change.

    A reading taken for the change is the usage at it. Otherwise it lies between the last reading before the change and
    the first one after it; without one after it, a day has none.
    """
    readings = account.readings.get(period.reported_start_on, [])
    if not readings or period.used is None:
        return ()
    zone = billing_zone(account.connection.zone)
    found: dict[date, UsageAtChange] = {}
    least = 0
    for row in account.spans.get(Kind.OFFERINGS, ())[1:]:
        on = day_in(row.seen_at, zone)
        if not period.start_on < on <= period.end_on:
            continue
        begun = row.from_at or datetime.combine(period.start_on, time(), tzinfo=UTC)
        before = [each for each in readings if each.as_of <= row.seen_at]
        low = min(max([least, *(each.used for each in before)]), period.used)
        if before and before[-1].as_of >= begun - READ_FOR_CHANGE and row.source == Source.OPERATION:
            found[on] = UsageAtChange(on, low)
        else:
            after = next((each.used for each in readings if each.as_of > row.seen_at), None)
            if after is not None:
                found[on] = UsageAtChange(on, low, max(low, after) if after > low else None)
        least = low
    return tuple(found[day] for day in sorted(found))


def _findings(account: AccountFacts, period: PeriodRow, states: Sequence[ValueChange]) -> Iterable[RatingFinding]:
    def finding(code: str, **details: object) -> RatingFinding:
        return RatingFinding(code, str(account.pk), period.start_on, period.end_on, details)

    if period.pk is None:
        yield finding("never_read", start=f"{period.start_on}", end=f"{period.end_on}")
    matters = {*HALTED, AccountState.DELETED}
    for before, each in zip([None, *states], states, strict=False):
        is_inside = each.since and each.since <= period.end_on and each.on > period.start_on
        if is_inside and (each.value in matters or (before and before.value in matters)):
            yield finding("uncertain_state_day", **{"from": f"{each.on}", "uncertain_since": f"{each.since}"})
    if any(move.before is None and move.at.date() > period.end_on - DAY for move in account.moves):
        yield finding("owner_unknown")


__all__ = ["PreparedCase", "SpanRow", "changes_of", "cost_case", "customer_cases", "rated_account", "rated_period"]
