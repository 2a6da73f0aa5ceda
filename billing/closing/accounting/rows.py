"""Rows of the accounting file: one for each line of a month's closed customer statements, in the order of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from django.db.models import QuerySet
from django.utils import translation

from billing.closing.accounting.basis import BilledLine, basis_of, unit_price_of
from billing.models import BillingTerms, LineKind, Side, Statement, StatementLine
from billing.pricing.rating.currency import as_amount, minor_unit_places
from billing.pricing.references import customer_reference
from billing.pricing.statements.numbers import billing_terms, statement_number
from billing.usage.periods import last_day
from customers.connections.catalogue import offering_label
from portal.consistent_reads import streamed_read

HEADER = (
    "statement number", "customer reference", "customer", "period start", "period end", "account code", "description",
    "quantity", "unit", "unit price", "net amount", "currency", "tax code", "basis", "kind", "account", "line id",
)  # fmt: skip
_READ_TOGETHER = 2000
_COLUMNS = (
    "statement__number", "reference", "statement__customer__company_name", "statement__currency", "n", "start_on",
    "end_on", "account_code", "tax_code", "offering", "account__provider_id", "account__email", "adjusts__number",
    "kind", "days", "of_days", "quantity", "rate", "per", "discount_minor", "amount_minor", "because",
)  # fmt: skip


def closed_statements(month: date) -> QuerySet[Statement]:
    return Statement.objects.filter(side=Side.SELL, month=month, state=Statement.State.CLOSED)


def held_back_count(month: date) -> int:
    """Return how many customer statements of the month aren't closed, and so aren't in its file."""
    return Statement.objects.filter(side=Side.SELL, month=month, state=Statement.State.DRAFT).count()


def kind_words() -> dict[str, str]:
    """Return the labels of kinds of lines in English: a file is the same in every language."""
    with translation.override("en"):
        return {kind.value: str(kind.label) for kind in LineKind}


def line_description(kind: str, offering: str) -> str:
    """Return "Base fee, Pro 100K" for a kind's label and an offering."""
    label = offering_label(offering) if offering else ""
    return f"{kind}, {label}" if label and label != kind else kind


def accounting_rows(month: date) -> Iterator[Sequence[Any]]:
    """Yield the rows of the file, in one query that is read bit by bit."""
    terms, words = billing_terms(), kind_words()
    lines = StatementLine.objects.filter(statement__in=closed_statements(month))
    found = (
        lines.annotate(reference=customer_reference(last_day(month), "statement__customer"))
        .order_by("statement__number", "n")
        .values_list(*_COLUMNS)
    )
    with streamed_read():
        for row in found.iterator(chunk_size=_READ_TOGETHER):
            yield _cells(row, terms, words)


def _cells(row: Sequence[Any], terms: BillingTerms, words: Mapping[str, str]) -> Sequence[Any]:
    number, reference, customer, currency, n, start_on, end_on, account_code, tax_code, offering = row[:10]
    provider_id, email, adjusted, *columns = row[10:]
    name = statement_number(number, terms.number_prefix)
    line = BilledLine._make([*columns, statement_number(adjusted, terms.number_prefix)])
    places = minor_unit_places(currency)
    price = unit_price_of(line, places)
    description = line.because.get("description") or line_description(words[line.kind], offering)
    return [
        name, reference, customer, start_on, end_on, account_code or terms.default_account_code, description,
        price.quantity, price.unit, price.unit_price,
        as_amount(line.amount_minor, places), currency, tax_code, basis_of(line, places), line.kind,
        provider_id or email or "", f"{name}-{n}",
    ]  # fmt: skip
