"""Content of closed rows, which is hashed: columns by name, in a form that stays the same while nothing changes.

The names are written out, so that a column that a later release adds doesn't change the hash of what is closed: it
needs a version of its own. A statement's digest covers its lines, findings and case, an invoice's content its lines, a
comparison's its matches.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, QuerySet

from billing.models import (
    Blocker,
    InvoiceComparison,
    InvoiceMatch,
    MonthClosing,
    ProviderInvoice,
    ProviderInvoiceLine,
    Statement,
    StatementCase,
    StatementFinding,
    StatementLine,
)
from billing.pricing.statements.numbers import billing_terms

# Statements whose lines are read at once.
TOGETHER = 200

STATEMENT = (
    "id", "public_id", "side", "customer_id", "connection_id", "month", "currency", "state", "total_minor",
    "total_high_minor", "open_ended", "is_exact", "lines_count", "findings_count", "versions", "inputs", "batch",
    "rated_at", "number", "closing_id", "closed_at",
)  # fmt: skip
LINE = (
    "id", "statement_id", "n", "key", "kind", "account_id", "customer_id", "connection_id", "offering", "package",
    "tier", "start_on", "end_on", "days", "of_days", "quantity", "quantity_high", "rate", "per", "gross_minor",
    "discount_minor", "amount_minor", "amount_high_minor", "open_ended", "account_code", "tax_code",
    "price_version_id", "contract_id", "adjusts_id", "figure_id", "because",
)  # fmt: skip
FINDING = ("id", "statement_id", "account_id", "kind", "offering", "detail")
CASE = ("statement_id", "case")
INVOICE = (
    "id", "public_id", "connection_id", "number", "issued_on", "currency", "total_minor", "filename", "note", "state",
    "withdrawn_reason", "entered_by_id", "entered_at", "edits", "closing_id",
)  # fmt: skip
INVOICE_LINE = (
    "id", "invoice_id", "n", "kind", "account_id", "account_text", "offering", "description", "start_on", "end_on",
    "quantity", "amount_minor",
)  # fmt: skip
COMPARISON = (
    "id", "connection_id", "month", "currency", "invoice_minor", "cost_minor", "billed", "carried_minor",
    "accepted_minor", "tolerance_minor", "invoices", "only_provider", "only_ours", "different", "equal", "stamp",
    "compared_at", "closing_id",
)  # fmt: skip
MATCH = (
    "id", "comparison_id", "n", "account_id", "account_text", "kind", "start_on", "end_on", "invoice_minor",
    "cost_minor", "billed_minor", "billed_currency", "is_billed", "result", "distance", "lines",
)  # fmt: skip
BLOCKER = (
    "id", "public_id", "month", "key", "kind", "customer_id", "connection_id", "account_id", "offering", "currency",
    "money_minor", "weight", "detail", "fingerprint", "owner_id", "due_on", "opened_at", "resolved_at", "accepted_at",
    "accepted_by_id", "accepted_reason",
)  # fmt: skip
# All of a run but `row_hash`, which is made from them.
RUN = (
    "id", "public_id", "month", "n", "state", "requested_by_id", "requested_at", "note", "tries", "position",
    "customers_total", "customers_done", "statements_closed", "held_back", "at_least", "totals", "contents",
    "closed_at", "seq", "prev_hash", "lease_until", "fence", "not_before",
)  # fmt: skip


def canonical_row(values: Iterable[Any]) -> bytes:
    """Return values as bytes, the same on both databases."""
    return json.dumps(list(values), sort_keys=True, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, date | UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical form.")


@dataclass(slots=True)
class _Hash:
    """Number and SHA-256 of some rows, in the order in which they are added."""

    rows: int = 0
    digest: Any = None

    def add(self, content: bytes) -> None:
        self.digest = self.digest or hashlib.sha256()
        self.digest.update(content + b"\n")
        self.rows += 1

    @property
    def facts(self) -> dict[str, Any]:
        return {"rows": self.rows, "sha256": self.digest.hexdigest() if self.digest else ""}


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that belong to others, by their foreign key `of`."""

    model: type[Model]
    columns: Sequence[str]
    of: str
    order: str

    def hashes(self, owners: Sequence[int]) -> dict[int, _Hash]:
        found: dict[int, _Hash] = defaultdict(_Hash)
        place = self.columns.index(self.of)
        rows = self.model._base_manager.filter(**{f"{self.of}__in": owners}).order_by(self.of, self.order)
        for row in rows.values_list(*self.columns).iterator(chunk_size=2000):
            found[row[place]].add(canonical_row(row))
        return found


_OF_STATEMENT = (
    _Part(StatementLine, LINE, "statement_id", "n"),
    _Part(StatementFinding, FINDING, "statement_id", "pk"),
    _Part(StatementCase, CASE, "statement_id", "pk"),
)
_OF_INVOICE = (_Part(ProviderInvoiceLine, INVOICE_LINE, "invoice_id", "n"),)
_OF_COMPARISON = (_Part(InvoiceMatch, MATCH, "comparison_id", "n"),)


def statement_digests(statements: Sequence[Statement]) -> dict[int, str]:
    """Return the digest of each statement, by key: of its columns as they are in the objects, and of its lines,
    findings and case as they are stored."""
    rows = [tuple(getattr(each, name) for name in STATEMENT) for each in statements]
    return {row[0]: hashlib.sha256(content).hexdigest() for row, content in _with_parts(rows, _OF_STATEMENT)}


def _with_parts(rows: Sequence[Sequence[Any]], parts: Sequence[_Part]) -> Iterable[tuple[Sequence[Any], bytes]]:
    """Return each row, whose first column is its key, with the content of itself and of what belongs to it."""
    hashes = [part.hashes([row[0] for row in rows]) for part in parts]
    for row in rows:
        yield row, canonical_row([*row, *(each.get(row[0], _Hash()).facts for each in hashes)])


def statements_of_run(run: MonthClosing) -> QuerySet[Statement]:
    return Statement.objects.filter(closing=run.pk).order_by("pk")


def contents_of(run: MonthClosing) -> dict[str, dict[str, Any]]:
    """Return number and SHA-256 of what the run closed. Statements are hashed by their digests."""
    statements = _Hash()
    for row in statements_of_run(run).values_list("pk", "digest").iterator(chunk_size=2000):
        statements.add(canonical_row(row))
    return {
        "statements": statements.facts,
        "invoices": _hashed(ProviderInvoice.objects.filter(closing=run.pk), INVOICE, _OF_INVOICE),
        "comparisons": _hashed(InvoiceComparison.objects.filter(closing=run.pk), COMPARISON, _OF_COMPARISON),
        "acceptances": _hashed(_used_acceptances(run), BLOCKER, ()),
        "numbers": _numbers(run),
    }


def _numbers(run: MonthClosing) -> dict[str, Any]:
    """Return how many statements have a number, and the SHA-256 of what stands before it: both are printed."""
    found = statements_of_run(run).filter(number__isnull=False).count()
    prefix = billing_terms().number_prefix if found else ""
    return {"rows": found, "sha256": hashlib.sha256(prefix.encode()).hexdigest()}


def _hashed(rows: QuerySet[Any], columns: Sequence[str], parts: Sequence[_Part]) -> dict[str, Any]:
    found = _Hash()
    waiting: list[Sequence[Any]] = []
    for row in rows.order_by("pk").values_list(*columns).iterator(chunk_size=2000):
        waiting.append(row)
        if len(waiting) >= TOGETHER:
            _add(found, waiting, parts)
            waiting = []
    _add(found, waiting, parts)
    return found.facts


def _add(found: _Hash, rows: Sequence[Sequence[Any]], parts: Sequence[_Part]) -> None:
    for _row, content in _with_parts(rows, parts) if rows else ():
        found.add(content)


def _used_acceptances(run: MonthClosing) -> QuerySet[Blocker]:
    """Return the acceptances of customers and connections that the run closed."""
    closed = Statement.objects.filter(closing=run.pk)
    return Blocker.objects.filter(
        Exists(closed.filter(customer=OuterRef("customer"))) | Exists(closed.filter(connection=OuterRef("connection"))),
        month=run.month,
        accepted_at__isnull=False,
    )


def run_content(values: Mapping[str, Any]) -> bytes:
    return canonical_row(values[name] for name in RUN)
