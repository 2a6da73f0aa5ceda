"""Compares the rows of a file with the draft statements of its month, and stores one result for each customer,
or account, and currency.

    compare_month(parallel, now=now)

Statements are read in one query, lines and findings only of those that differ, in groups. The drafts are rated again
first, where anything changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Count

from billing.models import ParallelMonth, ParallelResult, ParallelRow, Side, Statement, StatementFinding, StatementLine
from billing.pricing.parallel.reasons import OurLine, days_between, explain
from billing.pricing.statements.amounts import Amount, places_of
from billing.pricing.statements.results import NOTED
from customers.models import Account, Customer
from portal.typed_text import visible_name

State = ParallelResult.State
# Statements whose lines are read at once.
TOGETHER = 400
Subject = tuple[int, int | None, str]  # customer, account (None: the rest, or all), currency


@dataclass(slots=True)
class Theirs:
    minor: int = 0
    lines: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ours:
    """A statement, or the part of it that is about some accounts."""

    statement: int
    amount: Amount
    is_exact: bool

    @property
    def is_nothing(self) -> bool:
        return self.is_exact and self.amount.is_exact and not self.amount.minor


def compared(parallel: ParallelMonth) -> Iterator[ParallelResult]:
    """Yield the results, those that need lines last. Nothing is stored."""
    rows = list(parallel.rows.exclude(match=ParallelRow.Match.LEFT_OUT).order_by("line"))
    yield from (_unmatched(parallel, row) for row in rows if row.customer_id is None)
    comparison = _Comparison(parallel, [row for row in rows if row.customer_id is not None])
    yield from comparison.results()


def _unmatched(parallel: ParallelMonth, row: ParallelRow) -> ParallelResult:
    return ParallelResult(
        parallel=parallel,
        label=row.customer_text,
        currency=row.currency,
        state=State.UNMATCHED,
        theirs_minor=row.amount_minor,
        distance=abs(row.amount_minor),
        lines=[row.line],
    )


class _Comparison:
    def __init__(self, parallel: ParallelMonth, rows: Iterable[ParallelRow]) -> None:
        self.parallel = parallel
        self.theirs: dict[Subject, Theirs] = defaultdict(Theirs)
        self.by_account: set[int] = set()  # customers of whom the file has rows of single accounts
        self.subjects: dict[tuple[int, str], list[Subject]] = defaultdict(list)
        for row in rows:
            if row.customer_id is None:
                continue
            subject = (row.customer_id, row.account_id, row.currency)
            if subject not in self.theirs:
                self.subjects[row.customer_id, row.currency].append(subject)
            found = self.theirs[subject]
            found.minor += row.amount_minor
            found.lines.append(row.line)
            if row.account_id:
                self.by_account.add(row.customer_id)
        self.statements: dict[tuple[int, str], Ours] = {}
        self.currencies: dict[int, set[str]] = defaultdict(set)
        self.without_contract: set[int] = set()
        self._read_statements()
        self.names = self._names()

    def _read_statements(self) -> None:
        found = Statement.objects.filter(month=self.parallel.month, side=Side.SELL).order_by("customer", "currency")
        for row in found.defer("versions").iterator(chunk_size=5000):
            if not row.currency:
                self.without_contract.add(row.customer_id or 0)
                continue
            self.currencies[row.customer_id or 0].add(row.currency)
            amount = Amount(row.total_minor, row.currency, row.total_high_minor, row.open_ended)
            self.statements[row.customer_id or 0, row.currency] = Ours(row.pk, amount, row.is_exact)

    def _names(self) -> dict[int, str]:
        wanted = {customer for customer, _account, _currency in self.theirs}
        wanted |= {customer for customer, _currency in self.statements}
        rows = Customer.objects.filter(pk__in=wanted).values_list("pk", "company_name")
        return {pk: visible_name(name) for pk, name in rows}

    def results(self) -> Iterator[ParallelResult]:
        waiting: list[tuple[int, str]] = []
        keys = dict.fromkeys([*self.subjects, *self.statements])
        for customer, currency in keys:
            ours = self.statements.get((customer, currency))
            if customer in self.by_account and ours:
                waiting.append((customer, currency))
                continue
            for result in self._of_customer(customer, currency, ours):
                if result.state in (State.DIFFERENT, State.UNFINISHED):
                    waiting.append((customer, currency))
                else:
                    yield result
        for start in range(0, len(waiting), TOGETHER):
            yield from self._explained(waiting[start : start + TOGETHER])

    def _of_customer(self, customer: int, currency: str, ours: Ours | None) -> Iterator[ParallelResult]:
        """Yield what can be told without lines: one result, or without a statement one for each account."""
        subjects = [] if ours else self.subjects.get((customer, currency), [])
        for subject in subjects or [(customer, None, currency)]:
            if result := self._result(subject, self.theirs.get(subject), ours):
                yield result

    def _result(self, subject: Subject, theirs: Theirs | None, ours: Ours | None) -> ParallelResult | None:
        customer, account, currency = subject
        if theirs is None and (ours is None or ours.is_nothing):
            return None
        least = ours.amount.minor if ours else None
        distance = abs((least or 0) - (theirs.minor if theirs else 0))
        result = ParallelResult(
            parallel=self.parallel,
            customer_id=customer,
            account_id=account,
            statement_id=ours.statement if ours else None,
            label=self.names.get(customer, "")[:300],
            currency=currency,
            state=_state(theirs, ours),
            theirs_minor=theirs.minor if theirs else None,
            ours_minor=least,
            ours_high_minor=ours.amount.high_minor if ours else None,
            open_ended=bool(ours and ours.amount.open_ended),
            distance=distance,
            lines=theirs.lines if theirs else [],
        )
        if ours is None:
            result.findings = self._why_no_statement(customer, currency)
        return result

    def _why_no_statement(self, customer: int, currency: str) -> list[dict[str, Any]]:
        others = sorted(self.currencies.get(customer, set()) - {currency})
        if others:
            return [{"kind": "other_currency", "currencies": others}]
        return [{"kind": "no_contract" if customer in self.without_contract else "no_statement"}]

    # -- with lines

    def _explained(self, keys: Collection[tuple[int, str]]) -> Iterator[ParallelResult]:
        pks = [self.statements[key].statement for key in keys]
        lines, findings = _lines_of(pks), _findings_of(pks)
        for customer, currency in keys:
            whole = self.statements[customer, currency]
            own, found = lines.get(whole.statement, []), findings.get(whole.statement, [])
            for subject, part in self._parts(customer, currency, own):
                of_part = [each for each in found if part.holds(each["account"])]
                ours = whole if part.is_all else part.ours(whole, of_part)
                result = self._result(subject, self.theirs.get(subject), ours)
                if result is None:
                    continue
                if result.state != State.EQUAL:
                    result.findings = _counted(of_part)
                if result.theirs_minor is not None and result.distance:
                    _explain(result, part.lines)
                yield result

    def _parts(self, customer: int, currency: str, lines: list[_Line]) -> Iterator[tuple[Subject, _Part]]:
        """Yield the statement as a whole, or its parts: each account that a row names, and the rest."""
        named = [each[1] for each in self.subjects.get((customer, currency), ()) if each[1]]
        if not named:
            yield (customer, None, currency), _Part(lines, currency)
            return
        for account in named:
            own = [line for line in lines if line.ours.account == account]
            yield (customer, account, currency), _Part(own, currency, only=account)
        rest = [line for line in lines if line.ours.account not in named]
        yield (customer, None, currency), _Part(rest, currency, without=frozenset(filter(None, named)))


@dataclass(frozen=True, slots=True)
class _Line:
    ours: OurLine
    amount: Amount


@dataclass(frozen=True, slots=True)
class _Part:
    """The lines of a statement, of one of its accounts, or of all but some."""

    rows: list[_Line]
    currency: str
    only: int | None = None
    without: frozenset[int] = frozenset()

    @property
    def is_all(self) -> bool:
        return self.only is None and not self.without

    @property
    def lines(self) -> list[OurLine]:
        return [each.ours for each in self.rows]

    def holds(self, account: int | None) -> bool:
        return account == self.only if self.only else account not in self.without

    def ours(self, whole: Ours, findings: Collection[dict[str, Any]]) -> Ours:
        amount = Amount(0, self.currency)
        for each in self.rows:
            amount += each.amount
        return Ours(whole.statement, amount, not findings)


def _state(theirs: Theirs | None, ours: Ours | None) -> str:
    if ours is None:
        return State.ONLY_THEIRS
    if theirs is None:
        return State.ONLY_OURS
    if not (ours.is_exact and ours.amount.is_exact):
        return State.UNFINISHED
    return State.EQUAL if theirs.minor == ours.amount.minor else State.DIFFERENT


def _explain(result: ParallelResult, lines: list[OurLine]) -> None:
    theirs, ours = result.theirs_minor or 0, result.ours_minor or 0
    places = places_of(result.currency)
    found = explain(ours - theirs, lines, places=places, theirs=theirs, ours=ours)
    result.reasons = [each.stored() for each in found]


_COLUMNS = (
    "statement", "n", "kind", "account", "offering", "amount_minor", "amount_high_minor", "open_ended",
    "discount_minor", "quantity", "rate", "days", "of_days", "because", "statement__currency",
)  # fmt: skip


def _lines_of(statements: Collection[int]) -> dict[int, list[_Line]]:
    rows = StatementLine.objects.filter(statement__in=statements).order_by("statement", "n")
    found: dict[int, list[_Line]] = defaultdict(list)
    for row in rows.values(*_COLUMNS).iterator(chunk_size=2000):
        found[row["statement"]].append(_line(row))
    return found


def _line(row: dict[str, Any]) -> _Line:
    because = row["because"] or {}
    steps = {each.get("step"): each for each in because.get("steps", ())}
    exists = because.get("exists")
    percent = steps.get("discount", {}).get("percent")
    ours = OurLine(
        n=row["n"],
        kind=row["kind"],
        account=row["account"],
        offering=row["offering"],
        amount=row["amount_minor"],
        discount=row["discount_minor"],
        quantity=row["quantity"],
        rate=row["rate"],
        days=row["days"],
        of_days=row["of_days"],
        percent=Decimal(percent) if percent is not None else None,
        exists=days_between(exists["from"], exists["until"]) if exists else None,
    )
    amount = Amount(row["amount_minor"], row["statement__currency"], row["amount_high_minor"], row["open_ended"])
    return _Line(ours, amount)


def _findings_of(statements: Collection[int]) -> dict[int, list[dict[str, Any]]]:
    rows = StatementFinding.objects.filter(statement__in=statements).exclude(kind__in=NOTED).order_by("statement", "pk")
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.values("statement", "account", "kind", "offering"):
        found[row["statement"]].append(dict(row))
    return found


def _counted(findings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return kinds of findings with the number of accounts, and for an offering without a price its name."""
    accounts: dict[tuple[str, str], set[int | None]] = defaultdict(set)
    for each in findings:
        accounts[each["kind"], each["offering"]].add(each["account"])
    return [{"kind": kind, "offering": offering, "n": len(found)} for (kind, offering), found in accounts.items()]


def account_names(results: Iterable[ParallelResult]) -> dict[int, Account]:
    """Return the accounts that results and their reasons name, in one query."""
    wanted = {result.account_id for result in results} | {
        reason.get("account") for result in results for reason in result.reasons
    }
    return Account.objects.in_bulk([pk for pk in wanted if pk])


def counts_by_state(parallel: ParallelMonth) -> dict[str, int]:
    rows = parallel.results.order_by().values("state").annotate(n=Count("pk"))
    return {row["state"]: row["n"] for row in rows}
