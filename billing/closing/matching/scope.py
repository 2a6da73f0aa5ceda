"""Which lines of invoices a connection's month compares, and what its comparison was made from.

Lines count in the month in which their service ends. An open month also has those of closed months right before it
whose invoice no closed month compared.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum

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
RULES = 2
ENTERED = ProviderInvoice.State.ENTERED
_BEGINNING = date(2000, 1, 1)
# Of an invoice.
HAS_LINES = Q(Exists(ProviderInvoiceLine.objects.filter(invoice=OuterRef("pk"))))


@dataclass(slots=True)
class MonthScope:
    """A connection's month, as far as few short queries tell."""

    connection: int
    month: date
    tolerance_minor: int = 0
    # Months of the connection that are closed, and those that have a comparison or a cost statement and are not.
    closed_months: set[date] = field(default_factory=set)
    open_months: set[date] = field(default_factory=set)
    # The difference that earlier months left, by currency.
    carried: dict[str, int] = field(default_factory=dict)
    facts: list[Any] = field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        """Return whether the month compares nothing anymore: it, or a later one, is closed, and it isn't open."""
        is_over = self.month <= max(self.closed_months, default=date.min)
        return is_over and self.month not in self.open_months - self.closed_months

    @property
    def late_since(self) -> date | None:
        """Return the first day of service that counts here although its month is closed: behind the open month before.
        None where nothing is closed right before this month."""
        last_closed = max(self.closed_months, default=None)
        if last_closed is None or self.is_passed:
            return None
        if (before := month_after(self.month, -1)) > last_closed:
            return None
        earlier = [month for month in self.open_months - self.closed_months if month < self.month]
        since = month_after(max(earlier)) if earlier else _BEGINNING
        return since if since <= before else None

    @property
    def stamp(self) -> str:
        """The SHA-256 of what the comparison is made from."""
        carried = sorted(self.carried.items())
        told = f"{RULES} {self.month} {self.tolerance_minor} {self.late_since} {carried} {self.facts}"
        return hashlib.sha256(told.encode()).hexdigest()

    def days(self, column: str, closing: str) -> Q:
        """Return the condition on the day in `column` by which something belongs to this month."""
        within = Q(**{f"{column}__gte": self.month, f"{column}__lte": last_day(self.month)})
        if (since := self.late_since) is None:
            return within
        compared = Q(**{closing: None}) | Q(**{f"{closing}__month__gt": self.month})  # not by a month before this one
        return within | Q(**{f"{column}__gte": since, f"{column}__lt": self.month}) & compared

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
    _add_months(found)
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


def _add_months(scopes: dict[int, MonthScope]) -> None:
    compared = InvoiceComparison.objects.filter(connection__in=scopes).order_by()
    for pk, month, closing in compared.values_list("connection", "month", "closing").distinct():
        (scopes[pk].closed_months if closing else scopes[pk].open_months).add(month)
    rated = Statement.objects.filter(side=Side.COST, connection__in=scopes).exclude(currency="").order_by()
    for pk, month, state in rated.values_list("connection", "month", "state").distinct():
        is_closed = state == Statement.State.CLOSED
        (scopes[pk or 0].closed_months if is_closed else scopes[pk or 0].open_months).add(month)


def _add_carried(scopes: dict[int, MonthScope], month: date) -> None:
    """Add what each earlier month left, also one that was compared again after a later month, and opening balances."""
    earlier = InvoiceComparison.objects.filter(connection__in=scopes, month__lt=month).order_by()
    left = Sum(F("invoice_minor") - F("cost_minor") - F("accepted_minor"))
    balances = OpeningBalance.objects.filter(connection__in=scopes, month__lte=month, removed_at=None).order_by()
    for rows in (
        earlier.values("connection", "currency").annotate(left=left),
        balances.values("connection", "currency").annotate(left=Sum("amount_minor")),
    ):
        for row in rows:
            carried = scopes[row["connection"]].carried
            carried[row["currency"]] = carried.get(row["currency"], 0) + int(row["left"])


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
