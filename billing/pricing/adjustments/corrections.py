"""Adjustments of a customer (R9): its closed months rated again with every figure that came later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing.models import StatementCase
from billing.pricing.adjustments.late_figures import ClosedStatement, FigureRow, LateMonth, LateVersion
from billing.pricing.rating.adjusted import Adjustment, adjustments_of
from billing.pricing.rating.case import Case, LateFigure, RatedAccount, RatedPeriod, UsageAtChange
from billing.pricing.statements.cases import rated_account, rated_period
from billing.pricing.statements.facts import AccountFacts, PeriodRow, World, account_facts, by_customer
from billing.pricing.statements.frozen import FrozenCases
from customers.models import Account, AccountSpan


@dataclass(frozen=True, slots=True)
class Correction:
    """Difference that a late version makes to a closed statement. `package` is the account's."""

    statement: ClosedStatement
    figure: FigureRow
    adjustment: Adjustment
    package: str


def corrections_of(
    months: Sequence[LateMonth], frozen: FrozenCases, texts: Mapping[int, str], *, now: datetime
) -> list[Correction]:
    """Return the corrections of one customer that no closed statement has, in the order in which the figures came.

    `texts` are the frozen cases of its statements (pk), see `frozen_texts`.
    """
    found: list[Correction] = []
    for month in months:
        closed = [each for each in month.statements if each.currency and each.pk in texts]
        cases = dict(zip(closed, frozen.read(texts[each.pk] for each in closed), strict=True))
        facts = _facts_of(month, cases, now=now)
        held = {statement: {each.id: each for each in case.accounts} for statement, case in cases.items()}
        for statement, case in cases.items():
            versions = [late for late in month.versions if late.figure.from_batch > statement.batch]
            late = [each for each in versions if _statement_of(each, cases, held, facts) == statement]
            found += _corrections(statement, case, late, month, facts)
    return sorted(found, key=lambda each: (each.figure.from_batch, each.figure.start_on, each.figure.pk))


def frozen_texts(months: Iterable[LateMonth]) -> dict[int, str]:
    """Return the frozen cases of the statements (pk). One query."""
    pks = [each.pk for month in months for each in month.statements]
    return dict(StatementCase.objects.filter(statement__in=pks).values_list("statement", "case")) if pks else {}


def _facts_of(
    month: LateMonth, cases: Mapping[ClosedStatement, Case], *, now: datetime
) -> dict[tuple[int, int], AccountFacts]:
    """Return, by account and period (pk), facts of accounts and billing periods that no case of the customer has."""
    if not cases:
        return {}
    statement = next(iter(cases))
    periods = {(each.id, period.start) for case in cases.values() for each in case.accounts for period in each.periods}
    missing = {late.figure.account for late in month.versions if (str(late.figure.account), late.begins) not in periods}
    if not missing:
        return {}
    world = World(statement.month, now=now)
    owned = by_customer(account_facts(Account.objects.filter(pk__in=missing), world)).get(statement.customer, [])
    return {(each.pk, period.pk): each for each in owned for period in each.periods if period.pk is not None}


def _statement_of(
    late: LateVersion,
    cases: Mapping[ClosedStatement, Case],
    accounts: Mapping[ClosedStatement, Mapping[str, RatedAccount]],
    facts: Mapping[tuple[int, int], AccountFacts],
) -> ClosedStatement | None:
    """Return the statement that has the account's billing period, or would have it: the one of the contract in force
    on its first day, else the one with the account. None: it is another customer's."""
    held = {statement: accounts[statement].get(str(late.figure.account)) for statement in cases}
    with_period = (
        statement for statement, each in held.items() if each and any(one.start == late.begins for one in each.periods)
    )
    if found := next(with_period, None):
        return found
    if (late.figure.account, late.figure.period) not in facts:
        return next((statement for statement, each in held.items() if each), None)
    day = late.figure.start_on
    in_force = (
        statement
        for statement, case in cases.items()
        if any(one.valid_from <= day and not (one.valid_until and one.valid_until < day) for one in case.contracts)
    )
    return next(in_force, next(iter(cases)))


def _corrections(
    statement: ClosedStatement,
    case: Case,
    versions: Sequence[LateVersion],
    month: LateMonth,
    facts: Mapping[tuple[int, int], AccountFacts],
) -> Iterable[Correction]:
    accounts = {each.id: each for each in case.accounts}
    late = []
    for each in versions:
        figure = each.figure
        known = facts.get((figure.account, figure.period))
        account = accounts.get(str(figure.account))
        if account is None:
            if known is None:
                continue
            account = rated_account(replace(known, periods=[]), [])
            accounts[account.id] = account
        late.append((figure, LateFigure(account.id, _period(figure, each.begins, account, known), each.begins)))
    case = replace(case, accounts=tuple(accounts.values()), late_figures=tuple(one for _figure, one in late))
    last = {figure.period: figure.pk for figure, _late in late}
    for (figure, _late), adjustment in zip(late, adjustments_of(case), strict=True):
        # An undecided version that another one followed is nobody's business anymore.
        is_told = adjustment.lines or (adjustment.undecided and last[figure.period] == figure.pk)
        if is_told and (statement.pk, figure.pk) not in month.done:
            package = _package(figure, accounts[str(figure.account)])
            yield Correction(statement, figure, adjustment, package)


def _period(figure: FigureRow, begins: object, account: RatedAccount, known: AccountFacts | None) -> RatedPeriod:
    """Return the figure as the engine takes it. Usage at changes stays as it was when the month was closed."""
    before = next((each for each in account.periods if each.start == begins), None)
    if before is None and known is not None:
        row = PeriodRow(
            figure.period, figure.account, figure.start_on, figure.end_on, figure.reported_start_on, figure.status,
            figure.used, figure.high, figure.allowed, figure.package,
        )  # fmt: skip
        return rated_period(known, row, known.changes(AccountSpan.Kind.OFFERINGS))
    return RatedPeriod(
        start=figure.start_on,
        end=figure.end_on,
        used=figure.used,
        high=None if figure.high is None or figure.used is None else max(figure.high, figure.used),
        status=figure.status,
        at_changes=_within(before.at_changes if before else (), figure),
        allowed=figure.allowed,
    )


def _within(changes: Iterable[UsageAtChange], figure: FigureRow) -> tuple[UsageAtChange, ...]:
    """Return the usage at changes inside the billing period, none of it above the figure."""
    used = figure.used
    if used is None:
        return ()
    return tuple(
        replace(
            each, used=min(each.used, used), high=None if each.high is None else max(each.high, min(each.used, used))
        )
        for each in changes
        if figure.start_on < each.on <= figure.end_on
    )


def _package(figure: FigureRow, account: RatedAccount) -> str:
    if figure.package or not account.offerings or not account.offerings[-1].items:
        return figure.package
    return account.offerings[-1].items[0].name
