"""Compares what a provider invoiced for a month with the cost by our figures, and with what customers are billed.

    compare_with_invoices(connection, month, now=now)

Accounts are read in chunks and results stored as they come, so that 100,000 accounts take little memory. Currencies are
never added: each has a comparison of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import F, Max, Sum, Value

from billing.closing.matching.clusters import (
    SHARED,
    TOTAL,
    Cluster,
    Components,
    InvoicedLine,
    StatedLine,
    clusters_of,
)
from billing.closing.matching.scope import ENTERED, MonthScope, scopes_of
from billing.models import (
    ConnectionBilling,
    InvoiceComparison,
    InvoiceMatch,
    LineKind,
    ProviderInvoice,
    Side,
    StatementLine,
)
from billing.pricing.statements.locks import lock_month
from customers.models import Account
from portal.row_inserts import insert_rows

CHUNK = 2_000
Result = InvoiceMatch.Result
_SHARING = (ConnectionBilling.CostSource.BY_VOLUME, ConnectionBilling.CostSource.BY_PROVIDER_SHARE)
# Lines of a statement that aren't what the month's use costs.
_OTHER = (LineKind.ADJUSTMENT, LineKind.OPENING, LineKind.COMMIT)
_LINES_NAMED = 50
_INVOICED = ("kind", "offering", "start_on", "end_on", "amount_minor", "invoice__number", "n")
_WRITTEN = (
    "invoice_minor", "cost_minor", "billed", "carried_minor", "tolerance_minor", "invoices", "only_provider",
    "only_ours", "different", "equal", "stamp", "compared_at",
)  # fmt: skip


def compare_with_invoices(connection_pk: int, month: date, *, now: datetime) -> list[InvoiceComparison]:
    """Compare a connection's month if anything changed since, and return its comparisons, one of each currency.

    A closed comparison stays as it is, and a month that later ones passed gets none.
    """
    with transaction.atomic():
        lock_month(Side.COST, month, connection_pk)  # its cost statement isn't rated meanwhile
        stored = list(InvoiceComparison.objects.filter(connection=connection_pk, month=month).order_by("currency"))
        (scope,) = scopes_of(month, [connection_pk])
        is_current = bool(stored) and all(row.stamp == scope.stamp for row in stored)
        if is_current or scope.is_passed or any(row.closing_id for row in stored):
            return stored
        return _Comparison(scope, {row.currency: row for row in stored}, now=now).run()


class _Comparison:
    def __init__(self, scope: MonthScope, stored: dict[str, InvoiceComparison], *, now: datetime) -> None:
        self.scope, self.stored, self.now = scope, stored, now
        self.stamp = scope.stamp  # before anything is read: what changes from now on is compared again
        billing = ConnectionBilling.objects.filter(connection=scope.connection)
        self.shared = billing.filter(cost_source__in=_SHARING).exists()
        self.costs = {each.pk: each for each in scope.costs}
        self.billed: Counter[str] = Counter()
        # Service of an earlier month that is compared now was billed in statements of that month.
        ends = scope.lines.filter(end_on__lt=scope.month).values_list("end_on", flat=True).distinct()
        self.months = {scope.month} | {end.replace(day=1) for end in ends}

    def run(self) -> list[InvoiceComparison]:
        missing = self._missing_from_lines()
        invoiced = set(self.scope.lines.values_list("invoice__currency", flat=True).distinct())
        currencies = invoiced | {line[0] for line in missing} | {each.currency for each in self.costs.values()}
        currencies |= {currency for currency, minor in self.scope.carried.items() if minor}
        rows = [self._begin(currency) for currency in sorted(currencies | self._accepted())]
        for comparison in rows:
            of_currency = [line for currency, line in missing if currency == comparison.currency]
            _Matches(self, comparison).store(of_currency)
        for comparison in rows:
            comparison.billed = dict(sorted(self.billed.items()))
            comparison.save(update_fields=_WRITTEN)
        for row in self.stored.values():
            if row not in rows:
                row.delete()
        return rows

    def _accepted(self) -> set[str]:
        """Return currencies in which a person accepted a difference: their rows stay."""
        return {currency for currency, row in self.stored.items() if row.accepted_minor}

    def _begin(self, currency: str) -> InvoiceComparison:
        """Return the comparison's row without results."""
        scope = self.scope
        row = self.stored.get(currency) or InvoiceComparison(
            connection_id=scope.connection, month=scope.month, currency=currency, compared_at=self.now
        )
        if row._state.adding:
            row.save(force_insert=True)
        else:
            matches = InvoiceMatch._base_manager.filter(comparison=row)
            matches._raw_delete(matches.db)  # no row refers to them
        row.tolerance_minor, row.carried_minor = scope.tolerance_minor, scope.carried.get(currency, 0)
        row.stamp, row.compared_at = self.stamp, self.now
        row.invoice_minor = row.cost_minor = row.invoices = 0
        row.only_provider = row.only_ours = row.different = row.equal = 0
        return row

    def _missing_from_lines(self) -> list[tuple[str, InvoicedLine]]:
        """Return what totals of invoices have beyond their lines, by currency. It counts where the last line does, or
        without lines where the invoice's date does."""
        rows = ProviderInvoice.objects.filter(connection=self.scope.connection, state=ENTERED).order_by("pk")
        of_lines = rows.filter(pk__in=self.scope.lines.values("invoice"))
        of_lines = of_lines.annotate(added=Sum("lines__amount_minor"), last=Max("lines__end_on"))
        of_lines = of_lines.filter(self.scope.days("last", "closing"))
        nothing = {"added": Value(0), "last": F("issued_on")}
        without = self.scope.bare_invoices.annotate(**nothing)
        found = []
        for row in (*of_lines, *without):
            minor = row.total_minor - int(row.added)  # type: ignore[attr-defined]  # annotated above
            day = row.last  # type: ignore[attr-defined]  # annotated above
            if minor:
                found.append((row.currency, InvoicedLine(TOTAL, "", day, day, minor, row.number, 0)))
        return found


class _Matches:
    """The results of one currency, made and stored chunk by chunk."""

    def __init__(self, whole: _Comparison, comparison: InvoiceComparison) -> None:
        self.whole, self.comparison = whole, comparison
        currency = comparison.currency
        self.lines = whole.scope.lines.filter(invoice__currency=currency)
        self.costs = [pk for pk, each in whole.costs.items() if each.currency == currency]
        # What is billed is counted once, with the first currency.
        self.counts_billed = not whole.billed
        self.numbers: set[str] = set()
        self.n = 0

    def store(self, missing: Sequence[InvoicedLine]) -> None:
        comparison = self.comparison
        comparison.invoices = self.lines.values("invoice").distinct().count()
        if self.whole.shared:
            self._store_shared(missing)
            return
        accounts = Account.objects.filter(connection=comparison.connection_id).order_by("pk")
        after = 0
        while chunk := list(accounts.filter(pk__gt=after).values_list("pk", "is_test")[:CHUNK]):
            after = chunk[-1][0]
            insert_rows(InvoiceMatch, list(self._of_accounts(dict(chunk))))
        self._store_unmatched()
        self._insert_whole(missing)

    def _of_accounts(self, accounts: dict[int, bool]) -> Iterator[dict[str, Any]]:
        invoiced = _invoiced(self.lines.filter(account__in=list(accounts)))
        costs, sold = self._ours(accounts)
        for pk, is_test in accounts.items():
            if pk in invoiced or pk in costs:
                yield from self._results(
                    invoiced.get(pk, []), costs.get(pk, []), sold.get(pk, []), account=pk, needs_bill=not is_test
                )

    def _ours(self, accounts: Collection[int]) -> tuple[dict[int, list[StatedLine]], dict[int, list[StatedLine]]]:
        """Return cost and sell lines of the accounts, in one query."""
        costs: dict[int, list[StatedLine]] = defaultdict(list)
        sold: dict[int, list[StatedLine]] = defaultdict(list)
        month, wanted = self.whole.scope.month, set(self.costs)
        rows = StatementLine.objects.filter(account__in=list(accounts), statement__month__in=self.whole.months)
        columns = (
            "account", "statement", "statement__side", "statement__month", "kind", "offering", "start_on", "end_on",
            "amount_minor", "statement__currency",
        )  # fmt: skip
        found = rows.exclude(kind__in=_OTHER).order_by("pk").values_list(*columns)
        for account, statement, side, of_month, *told in found:
            line = StatedLine(*told)
            if side == Side.SELL:
                sold[account or 0].append(line)
                if of_month == month and self.counts_billed:
                    self.whole.billed[line.currency] += line.minor
            elif statement in wanted:
                costs[account or 0].append(line)
        return costs, sold

    def _store_unmatched(self) -> None:
        """Store what the invoice writes as accounts that no account was found for."""
        rows = self.lines.filter(account=None).exclude(account_text="").order_by("account_text", "pk")
        waiting: list[dict[str, Any]] = []
        told = rows.values_list("account_text", *_INVOICED).iterator(chunk_size=CHUNK)
        for text, lines in groupby(told, key=lambda row: row[0]):
            waiting += self._results([InvoicedLine(*row[1:]) for row in lines], [], [], text=text)
            if len(waiting) >= CHUNK:
                insert_rows(InvoiceMatch, waiting)
                waiting = []
        insert_rows(InvoiceMatch, waiting)

    def _insert_whole(self, missing: Sequence[InvoicedLine]) -> None:
        """Store what concerns the connection as a whole. Nobody in particular is billed for it."""
        rows = self.lines.filter(account=None, account_text="").order_by("pk").values_list(*_INVOICED)
        invoiced = [InvoicedLine(*row) for row in rows]
        insert_rows(InvoiceMatch, list(self._results([*invoiced, *missing], self._costs_of(account=None), [])))

    def _store_shared(self, missing: Sequence[InvoicedLine]) -> None:
        """Store the comparison of a connection's one invoice: as a whole, whatever accounts its lines name."""
        sums: dict[tuple[Any, ...], int] = defaultdict(int)
        for month_line in self._shared_sold():
            sums[month_line[:-1]] += month_line[-1]
        sold = [StatedLine(SHARED, "", start, end, minor, currency) for (start, end, currency), minor in sums.items()]
        rows = self.lines.order_by("pk").values_list(*_INVOICED)
        invoiced = [InvoicedLine(*row) for row in rows]
        insert_rows(InvoiceMatch, list(self._results([*invoiced, *missing], self._costs_of(), sold, needs_bill=True)))

    def _shared_sold(self) -> Iterator[tuple[date, date, str, int]]:
        scope = self.whole.scope
        rows = StatementLine.objects.filter(
            account__connection=scope.connection, statement__side=Side.SELL, statement__month__in=self.whole.months
        ).exclude(kind__in=_OTHER)
        told = rows.order_by().values_list("start_on", "end_on", "statement__currency", "statement__month")
        for start, end, currency, month, minor in told.annotate(minor=Sum("amount_minor")):
            if month == scope.month and self.counts_billed:
                self.whole.billed[currency] += int(minor)
            yield start, end, currency, int(minor)

    def _costs_of(self, **which: Any) -> list[StatedLine]:
        """Return lines of the cost statement together, by kind, offering and service period."""
        rows = StatementLine.objects.filter(statement__in=self.costs, **which).exclude(kind__in=_OTHER).order_by()
        told = rows.values_list("kind", "offering", "start_on", "end_on").annotate(minor=Sum("amount_minor"))
        currency = self.comparison.currency
        return [StatedLine(kind, name, start, end, int(minor), currency) for kind, name, start, end, minor in told]

    def _results(
        self,
        invoiced: Sequence[InvoicedLine],
        costs: Sequence[StatedLine],
        sold: Sequence[StatedLine],
        *,
        account: int | None = None,
        text: str = "",
        needs_bill: bool = False,
    ) -> Iterator[dict[str, Any]]:
        components = Components(invoiced, shared=self.whole.shared)
        for cluster in clusters_of(invoiced, costs, components):
            bill = [line for line in sold if cluster.overlaps(line)]
            same = [line for line in bill if components.of(line) == cluster.component]
            result, distance = _result(cluster, is_unbilled=needs_bill and not bill)
            if not result:
                continue
            self._count(cluster, result)
            currencies = {line.currency for line in same}
            yield {
                "comparison_id": self.comparison.pk,
                "n": self.n,
                "account_id": account,
                "account_text": text,
                "kind": cluster.kind,
                "start_on": cluster.start,
                "end_on": cluster.end,
                "invoice_minor": cluster.invoice_minor,
                "cost_minor": cluster.cost_minor,
                "billed_minor": sum(line.minor for line in same) if len(currencies) == 1 else None,
                "billed_currency": currencies.pop() if len(currencies) == 1 else "",
                "is_billed": bool(bill),
                "result": result,
                "distance": distance,
                "lines": [[line.number, line.n] for line in cluster.invoiced[:_LINES_NAMED]],
            }

    def _count(self, cluster: Cluster, result: str) -> None:
        comparison = self.comparison
        self.n += 1
        comparison.invoice_minor += cluster.invoice_minor or 0
        comparison.cost_minor += cluster.cost_minor or 0
        setattr(comparison, result, getattr(comparison, result) + 1)


def _invoiced(rows: Any) -> dict[int, list[InvoicedLine]]:
    found: dict[int, list[InvoicedLine]] = defaultdict(list)
    for account, *told in rows.order_by("pk").values_list("account", *_INVOICED):
        found[account].append(InvoicedLine(*told))
    return found


def _result(cluster: Cluster, *, is_unbilled: bool) -> tuple[str, int]:
    """Return the result and its size; "" where neither side has an amount."""
    invoice, cost = cluster.invoice_minor, cluster.cost_minor
    if not invoice and not cost:
        return "", 0
    difference = (invoice or 0) - (cost or 0)
    if invoice is None:
        return Result.ONLY_OURS.value, abs(difference)
    if cost is None:
        return Result.ONLY_PROVIDER.value, abs(difference)
    if is_unbilled and invoice > 0:
        # The cost is known, and no customer pays for the account: nobody covers any of it.
        return Result.ONLY_PROVIDER.value, invoice
    return (Result.DIFFERENT if difference else Result.EQUAL).value, abs(difference)
