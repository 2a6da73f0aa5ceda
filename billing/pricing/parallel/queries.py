"""Queries of parallel months: the list of files, a comparison with its sums, and its rows for pages and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext_lazy

from billing.models import ParallelMonth, ParallelResult
from billing.pricing.amounts import code_or_none
from billing.pricing.parallel.comparison import account_names
from billing.pricing.parallel.wording import range_text, sentences
from billing.pricing.statements.amounts import Amount, minor_text
from customers.models import Account, Customer
from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter
from portal.paging import KeyedRows, LongPage, long_page
from portal.typed_text import matches

A_PAGE = 50
SUGGESTED = 20
State = ParallelResult.State


class ResultFilters(ListFilters):
    show = Filter(gettext_lazy("Result"), one_of(State.values), words=dict(State.choices))
    currency = Filter(gettext_lazy("Currency"), code_or_none)
    q = search_filter()
    page = page_filter()


@dataclass(frozen=True, slots=True)
class ResultSum:
    """All results of one currency: what theirs and ours have together, and how many results are in each state."""

    currency: str
    theirs_minor: int
    ours_minor: int
    results: int
    equal: int
    is_least: bool

    @property
    def theirs(self) -> str:
        return minor_text(self.theirs_minor, self.currency)

    @property
    def ours(self) -> str:
        return minor_text(self.ours_minor, self.currency)

    @property
    def moved(self) -> str:
        return minor_text(self.ours_minor - self.theirs_minor, self.currency, signed=True)


@dataclass(slots=True)
class ShownResult:
    """A result as a page shows it. `why`: reasons and what is missing, in sentences."""

    result: ParallelResult
    account: Account | None
    why: list[str] = field(default_factory=list)

    @property
    def theirs(self) -> str:
        minor = self.result.theirs_minor
        return "" if minor is None else minor_text(minor, self.result.currency)

    @property
    def ours(self) -> Amount | None:
        result = self.result
        if result.ours_minor is None:
            return None
        return Amount(result.ours_minor, result.currency, result.ours_high_minor, result.open_ended)

    @property
    def moved_minor(self) -> int:
        return (self.result.ours_minor or 0) - (self.result.theirs_minor or 0)

    @property
    def moved(self) -> str:
        return minor_text(self.moved_minor, self.result.currency, signed=True)

    @property
    def lines_text(self) -> str:
        """The lines of the file, the first five of many."""
        lines = self.result.lines
        return ", ".join(str(each) for each in lines[:5]) + ("\u2026" if len(lines) > 5 else "")

    @property
    def has_more(self) -> bool:
        """Tell if there is more to say than the result."""
        return bool(self.why) or self.is_unexplained or self.result.state == State.UNMATCHED

    @property
    def is_unexplained(self) -> bool:
        """Tell if a difference has no reason that was found."""
        return self.result.state == State.DIFFERENT and not self.result.reasons


def with_counts(months: Sequence[ParallelMonth]) -> list[tuple[ParallelMonth, int, int]]:
    """Return files with how many results they have, and how many of these are equal."""
    rows = ParallelResult.objects.filter(parallel__in=months).order_by().values("parallel")
    found = {
        row["parallel"]: (row["n"], row["equal"])
        for row in rows.annotate(n=Count("pk"), equal=Count("pk", filter=Q(state=State.EQUAL)))
    }
    return [(each, *found.get(each.pk, (0, 0))) for each in months]


def result_sums(parallel: ParallelMonth) -> list[ResultSum]:
    rows = (
        parallel.results.order_by("currency")
        .values("currency")
        .annotate(
            theirs=Sum("theirs_minor"),
            ours=Sum("ours_minor"),
            n=Count("pk"),
            equal=Count("pk", filter=Q(state=State.EQUAL)),
            inexact=Count("pk", filter=Q(state=State.UNFINISHED) | Q(ours_high_minor__isnull=False)),
        )
    )
    return [
        ResultSum(row["currency"], row["theirs"] or 0, row["ours"] or 0, row["n"], row["equal"], bool(row["inexact"]))
        for row in rows
    ]


def narrowed_results(parallel: ParallelMonth, filters: ResultFilters) -> QuerySet[ParallelResult]:
    found = parallel.results.all()
    if filters.lists_nothing:
        return found.none()
    if filters.show:
        found = found.filter(state=filters.show)
    if filters.currency:
        found = found.filter(currency=filters.currency)
    for word in filters.q.split()[:5]:
        named = Customer.objects.filter(matches("search__contains", word.lower()))
        found = found.filter(Q(customer__in=named) | Q(customer=None, label__icontains=word))
    return found


def result_page(parallel: ParallelMonth, filters: ResultFilters, number: str) -> LongPage:
    """Return one page of the results, the largest difference of each currency first."""
    ordered = narrowed_results(parallel, filters).order_by("currency", "-distance", "pk")
    rows = ParallelResult.objects.select_related("customer", "statement")
    return long_page(KeyedRows(ordered, rows), number, A_PAGE)


def shown_results(results: Sequence[ParallelResult]) -> list[ShownResult]:
    accounts = account_names(results)
    return [_shown(each, accounts) for each in results]


def _shown(result: ParallelResult, accounts: Mapping[int, Account]) -> ShownResult:
    shown = ShownResult(result, accounts.get(result.account_id or 0))
    shown.why = sentences(result.reasons, result.findings, result.currency, accounts)
    ours, theirs = shown.ours, result.theirs_minor
    if ours and theirs is not None and not ours.is_exact:
        most = "" if ours.most is None else minor_text(ours.most, result.currency)
        is_within = ours.least <= theirs and (ours.most is None or theirs <= ours.most)
        shown.why.append(range_text(ours.least_text, most, is_within=is_within))
    return shown


HEADER = (
    "month", "customer", "external reference", "account", "currency", "theirs", "ours", "ours at most", "difference",
    "result", "why", "lines of the file", "statement", "compared at",
)  # fmt: skip


def result_rows(parallel: ParallelMonth, filters: ResultFilters) -> Iterator[Sequence[Any]]:
    """Yield the rows of the file."""
    found = narrowed_results(parallel, filters).order_by("currency", "-distance", "pk")
    waiting: list[ParallelResult] = []
    for row in found.select_related("customer", "statement").defer("statement__versions").iterator(chunk_size=500):
        waiting.append(row)
        if len(waiting) == 500:
            yield from _file_rows(parallel, waiting)
            waiting = []
    yield from _file_rows(parallel, waiting)


def _file_rows(parallel: ParallelMonth, results: Sequence[ParallelResult]) -> Iterator[Sequence[Any]]:
    for shown in shown_results(results):
        result, ours = shown.result, shown.ours
        theirs = Amount(result.theirs_minor, result.currency).value if result.theirs_minor is not None else None
        account = (shown.account.email or shown.account.provider_id) if shown.account else ""
        yield [
            f"{parallel.month:%Y-%m}",
            result.customer.company_name if result.customer else result.label,
            result.customer.external_reference if result.customer else "",
            account,
            result.currency,
            theirs,
            ours.value if ours else None,
            ours.most_value if ours else None,
            Amount(shown.moved_minor, result.currency).value,
            result.state.replace("_", " "),
            ". ".join(shown.why),
            ", ".join(str(each) for each in result.lines),
            result.statement.public_id if result.statement else "",
            parallel.compared_at,
        ]


def suggested_customers(words: str) -> list[Customer]:
    """Return customers that a row may be about: those with all words, else those with any of them."""
    wanted = [word.lower() for word in words.split()[:6] if len(word) > 1]
    if not wanted:
        return []
    every = Customer.objects.order_by("company_name", "pk")
    found = every
    for word in wanted:
        found = found.filter(matches("search__contains", word))
    rows = list(found[:SUGGESTED])
    if rows:
        return rows
    any_word = Q()
    for word in wanted:
        if len(word) > 2:
            any_word |= matches("search__contains", word)
    return list(every.filter(any_word)[:SUGGESTED]) if any_word else []
