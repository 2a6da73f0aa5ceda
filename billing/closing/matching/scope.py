"""Which lines of invoices a connection's month compares, and what its comparison was made from.

Lines count in the month in which their service ends. The first month that isn't closed also has those of earlier,
closed months whose invoice no closed month compared.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet, Sum

from billing.models import (
    ConnectionBilling,
    InvoiceComparison,
    OpeningBalance,
    ProviderInvoice,
    ProviderInvoiceLine,
    Side,
    Statement,
)
from billing.usage.periods import last_day, month_after
from customers.models import Connection

# Rises with every change of what is compared, so that stored comparisons are made again.
RULES = 1
ENTERED = ProviderInvoice.State.ENTERED
# Of an invoice.
HAS_LINES = Q(Exists(ProviderInvoiceLine.objects.filter(invoice=OuterRef("pk"))))


@dataclass(slots=True)
class MonthScope:
    """A connection's month, as far as few short queries tell."""

    connection: int
    month: date
    tolerance_minor: int = 0
    last_closed: date | None = None
    # The difference that earlier months left, by currency.
    carried: dict[str, int] = field(default_factory=dict)
    facts: list[Any] = field(default_factory=list)

    @property
    def has_late_lines(self) -> bool:
        return self.last_closed is not None and month_after(self.last_closed) == self.month

    @property
    def stamp(self) -> str:
        """The SHA-256 of what the comparison is made from."""
        carried = sorted(self.carried.items())
        told = f"{RULES} {self.month} {self.tolerance_minor} {self.last_closed} {carried} {self.facts}"
        return hashlib.sha256(told.encode()).hexdigest()

    def days(self, column: str, closing: str) -> Q:
        """Return the condition on the day in `column` by which something belongs to this month."""
        within = Q(**{f"{column}__gte": self.month, f"{column}__lte": last_day(self.month)})
        late = Q(**{f"{column}__lt": self.month, closing: None})
        return within | late if self.has_late_lines else within

    @property
    def has_anything(self) -> bool:
        """Return whether the month has a comparison at all. A query or two, so ask only where none is stored."""
        return any(self.carried.values()) or self.costs.exists() or self.lines.exists() or self.bare_invoices.exists()

    @property
    def bare_invoices(self) -> QuerySet[ProviderInvoice]:
        """Invoices without lines, which count in the month of their date."""
        rows = ProviderInvoice.objects.filter(~HAS_LINES, connection=self.connection, state=ENTERED)
        return rows.filter(self.days("issued_on", "closing")).order_by("pk")

    @property
    def lines(self) -> QuerySet[ProviderInvoiceLine]:
        """The lines of invoices that this month compares."""
        rows = ProviderInvoiceLine.objects.filter(invoice__connection=self.connection, invoice__state=ENTERED)
        return rows.filter(self.days("end_on", "invoice__closing")).order_by()

    @property
    def costs(self) -> QuerySet[Statement]:
        rows = Statement.objects.filter(side=Side.COST, connection=self.connection, month=self.month)
        return rows.exclude(currency="").order_by("currency")


def compared_invoices(connection: int, month: date) -> list[int]:
    """Return the invoices (pk) of which a connection's month compares lines: those that closing the month closes."""
    (scope,) = scopes_of(month, [connection])
    either = Q(pk__in=scope.lines.values("invoice")) | Q(pk__in=scope.bare_invoices.values("pk"))
    return list(ProviderInvoice.objects.filter(either).order_by("pk").values_list("pk", flat=True))


def scopes_of(month: date, connections: Collection[int] | None = None) -> list[MonthScope]:
    """Return the scopes of all connections, or of some. The number of queries is always the same."""
    wanted = Connection.objects.order_by("pk")
    if connections is not None:
        wanted = wanted.filter(pk__in=connections)
    found = {pk: MonthScope(pk, month) for pk in wanted.values_list("pk", flat=True)}
    _add_tolerances(found)
    _add_last_closed(found, month)
    _add_carried(found, month)
    sold = Statement.objects.filter(side=Side.SELL, month=month).order_by()
    billed = sold.aggregate(n=Count("pk"), at=Max("rated_at"), minor=Sum("total_minor"))
    for scope in found.values():
        scope.facts.append(sorted(billed.items()))
    _add_invoices(found)
    _add_costs(found, month)
    return list(found.values())


def _add_tolerances(scopes: dict[int, MonthScope]) -> None:
    rows = ConnectionBilling.objects.filter(connection__in=scopes)
    for pk, tolerance, source in rows.values_list("connection", "tolerance_minor", "cost_source"):
        scopes[pk].tolerance_minor = tolerance
        scopes[pk].facts.append(source)


def _add_last_closed(scopes: dict[int, MonthScope], month: date) -> None:
    compared = InvoiceComparison.objects.filter(closing__isnull=False)
    rated = Statement.objects.filter(side=Side.COST, state=Statement.State.CLOSED)
    for rows in (compared, rated):
        earlier = rows.filter(connection__in=scopes, month__lt=month).order_by().values("connection")
        for pk, last in earlier.annotate(last=Max("month")).values_list("connection", "last"):
            known = scopes[pk].last_closed
            scopes[pk].last_closed = max(known, last) if known else last


def _add_carried(scopes: dict[int, MonthScope], month: date) -> None:
    """Add what the last comparison before the month left, and opening balances since then."""
    since: dict[tuple[int, str], date] = {}
    earlier = InvoiceComparison.objects.filter(connection__in=scopes, month__lt=month).order_by("month")
    columns = ("connection_id", "month", "currency", "invoice_minor", "cost_minor", "carried_minor", "accepted_minor")
    for row in _last_of_each(earlier.only(*columns)):
        scopes[row.connection_id].carried[row.currency] = row.accumulated_minor
        since[row.connection_id, row.currency] = row.month
    balances = OpeningBalance.objects.filter(connection__in=scopes, month__lte=month, removed_at=None).order_by("pk")
    for pk, currency, at, minor in balances.values_list("connection", "currency", "month", "amount_minor"):
        if pk and at > since.get((pk, currency), date.min):
            carried = scopes[pk].carried
            carried[currency] = carried.get(currency, 0) + minor


def _last_of_each(rows: Iterable[InvoiceComparison]) -> Iterable[InvoiceComparison]:
    return {(row.connection_id, row.currency): row for row in rows}.values()


def _add_invoices(scopes: dict[int, MonthScope]) -> None:
    rows = ProviderInvoice.objects.filter(connection__in=scopes).order_by("connection", "state").values("connection")
    told = rows.values("connection", "state").annotate(n=Count("pk"), last=Max("pk"), edits=Sum("edits"))
    for row in told:
        scopes[row["connection"]].facts.append(sorted(row.items()))


def _add_costs(scopes: dict[int, MonthScope], month: date) -> None:
    rows = Statement.objects.filter(side=Side.COST, connection__in=scopes, month=month).order_by("pk")
    by_connection: dict[int, list[Any]] = defaultdict(list)
    for pk, *told in rows.values_list("connection", "pk", "currency", "inputs", "rated_at", "total_minor"):
        by_connection[pk or 0].append(told)
    for pk, found in by_connection.items():
        scopes[pk].facts.append(found)
