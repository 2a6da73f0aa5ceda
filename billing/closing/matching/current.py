"""Keeps comparisons current: small ones at once, when somebody looks, large ones by the worker.

current_comparisons(month, now=now)      all connections' comparisons of a month
stale_connections(month)                 connections whose stored comparison isn't current
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Abs

from billing.closing.invoices.commands import COMPARE
from billing.closing.matching.comparison import compare_with_invoices
from billing.closing.matching.scope import ENTERED, MonthScope, scopes_of
from billing.models import InvoiceComparison, ProviderInvoiceLine
from billing.usage.periods import month_after
from portal.queue import enqueue_on_commit

# A comparison of so many lines is made while somebody waits for it.
AT_ONCE = 5_000
# Months that the worker compares after rating, as many as it rates.
_RATED_MONTHS = 2


def current_comparisons(
    month: date, *, now: datetime, connections: Iterable[int] | None = None
) -> list[InvoiceComparison]:
    """Return the month's comparisons, of all connections or of some, in the order of connections' names.

    What is out of date is compared again, if it is small, else by a worker: `stale_connections` names it until then.
    """
    wanted = None if connections is None else list(connections)
    compare_stale(month, now=now, connections=wanted)
    return stored_comparisons(month, wanted)


def compare_stale(month: date, *, now: datetime, connections: list[int] | None = None) -> set[int]:
    """Compare again what is out of date, if it is small; return the connections that are left to a worker."""
    left = set()
    for scope in _stale(month, connections):
        if _lines(scope) <= AT_ONCE:
            compare_with_invoices(scope.connection, month, now=now)
        else:
            enqueue_on_commit(COMPARE, scope.connection)
            left.add(scope.connection)
    return left


def stored_comparisons(month: date, connections: list[int] | None = None) -> list[InvoiceComparison]:
    """Return the month's comparisons as they are stored, in the order of connections' names."""
    found = InvoiceComparison.objects.filter(month=month).select_related("connection", "closing")
    if connections is not None:
        found = found.filter(connection__in=connections)
    return list(found.order_by("connection__name", "connection", "currency"))


def stale_connections(month: date, connections: list[int] | None = None) -> set[int]:
    """Return the connections whose month has to be compared, or compared again, before it can be closed."""
    return {scope.connection for scope in _stale(month, connections)}


def _stale(month: date, connections: list[int] | None) -> list[MonthScope]:
    rows = InvoiceComparison.objects.filter(month=month)
    stamps: dict[int, set[str]] = {}
    closed = set()
    for pk, stamp, closing in rows.values_list("connection", "stamp", "closing"):
        stamps.setdefault(pk, set()).add(stamp)
        if closing:
            closed.add(pk)
    return [
        scope
        for scope in scopes_of(month, connections)
        if scope.connection not in closed
        and not scope.is_passed
        and stamps.get(scope.connection) != {scope.stamp}
        and (scope.connection in stamps or scope.has_anything)
    ]


def _lines(scope: MonthScope) -> int:
    """Return how many lines a comparison reads, counted as far as it matters."""
    invoiced = scope.lines[: AT_ONCE + 1].count()
    return invoiced + (scope.costs.aggregate(n=Sum("lines_count"))["n"] or 0)


def differences_of(month: date) -> QuerySet[InvoiceComparison]:
    """Return the month's comparisons whose accumulated difference is above the tolerance. None of them is closed."""
    left = Abs(F("carried_minor") + F("invoice_minor") - F("cost_minor") - F("accepted_minor"))
    rows = InvoiceComparison.objects.filter(month=month, closing=None).annotate(left=left)
    return rows.filter(left__gt=F("tolerance_minor")).select_related("connection")


def compare_connection(connection: int, *, now: datetime) -> None:
    """Compare every open month of a connection that is out of date, the earliest first: it is carried into the next."""
    months = set(InvoiceComparison.objects.filter(connection=connection, closing=None).values_list("month", flat=True))
    lines = ProviderInvoiceLine.objects.filter(
        invoice__connection=connection, invoice__state=ENTERED, invoice__closing=None
    )
    months |= {end.replace(day=1) for end in lines.order_by().values_list("end_on", flat=True).distinct()}
    months |= set(_rated_months(now))
    for month in sorted(months):
        if _stale(month, [connection]):
            compare_with_invoices(connection, month, now=now)


def enqueue_comparisons(*, now: datetime) -> None:
    """Let workers compare what rating changed."""
    for connection in {pk for month in _rated_months(now) for pk in stale_connections(month)}:
        enqueue_on_commit(COMPARE, connection)


def _rated_months(now: datetime) -> list[date]:
    this_month = now.astimezone(UTC).date().replace(day=1)
    return [month_after(this_month, -step) for step in range(_RATED_MONTHS)]
