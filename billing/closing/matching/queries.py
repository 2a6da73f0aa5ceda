"""Comparisons for pages and files: sums, results by size, and the lines of both sides behind each result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from billing.closing.matching.clusters import SHARED, TOTAL
from billing.closing.matching.wording import kind_label, next_step
from billing.models import InvoiceComparison, InvoiceMatch, ProviderInvoice, ProviderInvoiceLine, Side, StatementLine
from billing.pricing.amounts import code_or_none
from billing.pricing.statements.amounts import Amount, minor_text
from portal.filters import Filter, ListFilters, one_of, page_filter, search_filter
from portal.paging import KeyedRows, LongPage, long_page
from portal.typed_text import matches

A_PAGE = 50
Result = InvoiceMatch.Result
# Django's get_..._display takes a tenth of a page: it makes all labels of a column each time.
_RESULTS = dict(Result.choices)


class MatchFilters(ListFilters):
    show = Filter(_("Result"), one_of(Result.values), lookup="result", words=_RESULTS)
    currency = Filter(_("Currency"), code_or_none)
    q = search_filter()
    page = page_filter()

    def __init__(self, query: Mapping[str, str], *, comparisons: Sequence[InvoiceComparison]) -> None:
        super().__init__(query)
        self.comparison = comparisons[0] if comparisons else None
        if self.currency:
            of_currency = [each for each in comparisons if each.currency == self.currency]
            if of_currency:
                self.comparison = of_currency[0]
            else:
                self.refuse("currency")

    def narrowed(self) -> QuerySet[InvoiceMatch]:
        found = self.narrow(InvoiceMatch.objects.filter(comparison=self.comparison))
        for word in self.q.split()[:5]:
            named = matches("account__email__icontains", word) | matches("account_text__icontains", word)
            found = found.filter(named | Q(account__provider_id__icontains=word))
        return found.order_by("-distance", "pk")


@dataclass(frozen=True, slots=True)
class ComparisonSums:
    """The sums of a comparison as texts."""

    row: InvoiceComparison

    def _text(self, minor: int, *, signed: bool = False) -> str:
        return minor_text(minor, self.row.currency, signed=signed)

    @property
    def invoice(self) -> str:
        return self._text(self.row.invoice_minor)

    @property
    def cost(self) -> str:
        return self._text(self.row.cost_minor)

    @property
    def billed(self) -> list[str]:
        return [minor_text(minor, currency) for currency, minor in self.row.billed.items()]

    @property
    def difference(self) -> str:
        return self._text(self.row.difference_minor, signed=True)

    @property
    def carried(self) -> str:
        return self._text(self.row.carried_minor, signed=True)

    @property
    def accepted(self) -> str:
        return self._text(self.row.accepted_minor, signed=True)

    @property
    def accumulated(self) -> str:
        return self._text(self.row.accumulated_minor, signed=True)

    @property
    def tolerance(self) -> str:
        return self._text(self.row.tolerance_minor)

    @property
    def is_above(self) -> bool:
        return abs(self.row.accumulated_minor) > self.row.tolerance_minor

    @property
    def tabs(self) -> list[tuple[str, str, int]]:
        """Results with their number; those that there are none of are left out."""
        counts = {result: getattr(self.row, result.value) for result in Result}
        every: list[tuple[str, str, int]] = [("", str(_("All")), sum(counts.values()))]
        return every + [(result.value, str(result.label), n) for result, n in counts.items() if n]


@dataclass(slots=True)
class ShownMatch:
    """A result with its lines, as a page shows it."""

    match: InvoiceMatch
    currency: str
    has_cost: bool
    # Lines with their kind and amount as texts.
    invoiced: list[tuple[ProviderInvoiceLine, str, str]] = field(default_factory=list)
    ours: list[tuple[StatementLine, str, str]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return kind_label(self.match.kind)

    @property
    def offerings(self) -> str:
        names = [line.offering for line, *_texts in self.invoiced] + [line.offering for line, *_texts in self.ours]
        return ", ".join(dict.fromkeys(filter(None, names)))

    @property
    def result(self) -> str:
        return str(_RESULTS[self.match.result])

    def _text(self, minor: int | None) -> str:
        return "" if minor is None else minor_text(minor, self.currency)

    @property
    def invoice(self) -> str:
        return self._text(self.match.invoice_minor)

    @property
    def cost(self) -> str:
        return self._text(self.match.cost_minor)

    @property
    def difference_minor(self) -> int:
        return (self.match.invoice_minor or 0) - (self.match.cost_minor or 0)

    @property
    def difference(self) -> str:
        return minor_text(self.difference_minor, self.currency, signed=True)

    @property
    def billed(self) -> str:
        minor = self.match.billed_minor
        return "" if minor is None else minor_text(minor, self.match.billed_currency)

    @property
    def next_step(self) -> str:
        return next_step(self.match, has_cost=self.has_cost)

    @property
    def line_to_assign(self) -> ProviderInvoiceLine | None:
        """The line to which an account can be assigned; None where it has one, or a closed month compared it. A shared
        invoice is of the connection as a whole."""
        if self.match.kind in (SHARED, TOTAL):
            return None
        for line, *_texts in self.invoiced:
            if line.account_id is None and line.invoice.closing_id is None:
                return line
        return None


def match_page(filters: MatchFilters, number: str) -> LongPage:
    rows = InvoiceMatch.objects.select_related("account", "account__customer")
    return long_page(KeyedRows(filters.narrowed(), rows), number, A_PAGE)


def shown_matches(comparison: InvoiceComparison, found: Sequence[InvoiceMatch], *, has_cost: bool) -> list[ShownMatch]:
    """Return results with their lines. The number of queries is always the same."""
    shown = [ShownMatch(each, comparison.currency, has_cost) for each in found]
    invoiced, ours = _invoice_lines(comparison, found), _our_lines(comparison, found)
    for each in shown:
        match = each.match
        for number, n in match.lines:
            if line := invoiced.get((number, n)):
                each.invoiced.append((line, kind_label(line.kind), minor_text(line.amount_minor, comparison.currency)))
        for ours_line in ours.get(match.account_id or 0, []):
            if ours_line.start_on <= match.end_on and ours_line.end_on >= match.start_on:
                amount = Amount(
                    ours_line.amount_minor, ours_line.statement.currency, ours_line.amount_high_minor,
                    ours_line.open_ended,
                )  # fmt: skip
                each.ours.append((ours_line, kind_label(ours_line.kind), str(amount)))
    return shown


def _invoice_lines(
    comparison: InvoiceComparison, found: Sequence[InvoiceMatch]
) -> dict[tuple[str, int], ProviderInvoiceLine]:
    numbers: dict[str, set[int]] = defaultdict(set)
    for match in found:
        for number, n in match.lines:
            numbers[number].add(n)
    entered = ProviderInvoice.objects.filter(
        connection=comparison.connection_id, number__in=numbers, state=ProviderInvoice.State.ENTERED
    )
    wanted = Q(pk__in=())
    for invoice in entered:
        wanted |= Q(invoice=invoice, n__in=numbers[invoice.number])
    rows = ProviderInvoiceLine.objects.filter(wanted).select_related("invoice")
    return {(row.invoice.number, row.n): row for row in rows}


def _our_lines(comparison: InvoiceComparison, found: Sequence[InvoiceMatch]) -> dict[int, list[StatementLine]]:
    """Return cost and sell lines of the results' accounts, cost first. Cost in another currency is left out."""
    accounts = {match.account_id for match in found if match.account_id}
    same = Q(statement__side=Side.COST, statement__currency=comparison.currency) | Q(statement__side=Side.SELL)
    rows = StatementLine.objects.filter(same, account__in=accounts, statement__month=comparison.month)
    lines: dict[int, list[StatementLine]] = defaultdict(list)
    for line in (
        rows.select_related("statement").defer("because", "statement__versions").order_by("statement__side", "n")
    ):
        lines[line.account_id or 0].append(line)
    return lines


HEADER = (
    "month", "currency", "result", "account", "email", "account on the invoice", "customer", "component",
    "service start", "service end", "invoice", "cost", "difference", "billed", "billed currency", "is billed",
    "invoice lines",
)  # fmt: skip


def match_rows(filters: MatchFilters) -> Iterator[Sequence[Any]]:
    """Yield the rows of the comparison's file."""
    comparison = filters.comparison
    if comparison is None:
        return
    month, currency = f"{comparison.month:%Y-%m}", comparison.currency
    found = filters.narrowed().select_related("account", "account__customer")
    for match in found.iterator(chunk_size=500):
        account = match.account

        def value(minor: int | None, of: str = currency) -> Any:
            return None if minor is None else Amount(minor, of).value

        yield [
            month, currency, match.result, (account.provider_id or "") if account else "",
            account.email if account else "", match.account_text, account.customer.company_name if account else "",
            match.kind, match.start_on, match.end_on, value(match.invoice_minor), value(match.cost_minor),
            value((match.invoice_minor or 0) - (match.cost_minor or 0)),
            value(match.billed_minor, match.billed_currency or currency), match.billed_currency, match.is_billed,
            ", ".join(f"{number} line {n}" for number, n in match.lines),
        ]  # fmt: skip
