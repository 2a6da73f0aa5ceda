"""The dispute pack of a closed statement: everything one customer's statement was made from, as one ZIP.

Nothing in it tells what a provider charges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.models import (
    Anomaly,
    Decision,
    FigureVersion,
    Statement,
    StatementCase,
    StatementLine,
    StatisticsReading,
    UsagePeriod,
    UsageSnapshot,
)
from billing.pricing.rating.currency import as_amount, minor_unit_places
from billing.pricing.statements.frozen import FrozenCases
from billing.pricing.statements.numbers import billing_terms, statement_number
from billing.pricing.statements.queries import LINE_HEADER, line_rows
from portal.exports import ByteSink, csv_lines, write_csv

Member = tuple[str, Callable[[ByteSink], None]]
_TOGETHER = 500
# Anomalies that say what a provider charges.
_OF_COST = (Anomaly.Kind.COST_FELL, Anomaly.Kind.CURRENCY)
READINGS = ("account key", "account", "period start", "period end", "as of", "used", "allowed", "package", "source")
STATISTICS = ("account key", "account", "as of", "day", "requests")
DECISIONS = (
    "account key", "account", "period start", "period end", "anomaly", "opened at", "before", "after", "decision",
    "quantity", "reason", "decided by", "decided at",
)  # fmt: skip
FIGURES = (
    "account key", "account", "period start", "period end", "version", "status", "used", "used at most", "allowed",
    "package", "cause", "set at", "from batch", "until batch",
)  # fmt: skip
ADJUSTMENTS = (
    "statement number", "month", "line", "adjusts statement", "account key", "account", "from", "until", "quantity",
    "rate", "per", "amount", "currency",
)  # fmt: skip


class Pack:
    """The files of one statement."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.prefix = billing_terms().number_prefix
        # A statement of adjustments and opening balances alone was rated from nothing.
        kept = StatementCase.objects.filter(statement=statement).values_list("case", flat=True)
        self.case = next(iter(FrozenCases().complete(kept)), None)
        adjusting = Q(statement=statement, adjusts__isnull=False) | Q(adjusts=statement)
        self.adjustments = StatementLine.objects.filter(adjusting)
        rated = {int(each["id"]) for each in self.case["accounts"]} if self.case else set()
        self.accounts = sorted(
            rated | set(self.adjustments.order_by().values_list("figure__account", flat=True)) - {None}
        )

    @property
    def number(self) -> str:
        return statement_number(self.statement.number, self.prefix)

    def members(self) -> Iterator[Member]:
        yield "README.txt", self._write_readme
        yield "statement.csv", self._csv(LINE_HEADER, line_rows(self.statement))
        if self.case:
            yield "case.json", self._write_case
        yield "readings.csv", self._csv(READINGS, self._of_accounts(self._readings))
        yield "statistics.csv", self._csv(STATISTICS, self._of_accounts(self._statistics))
        yield "decisions.csv", self._csv(DECISIONS, self._of_accounts(self._decisions))
        yield "figures.csv", self._csv(FIGURES, self._of_accounts(self._figures))
        yield "adjustments.csv", self._csv(ADJUSTMENTS, self._adjustments())

    def _csv(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Callable[[ByteSink], None]:
        return partial(write_csv, header=header, lines=csv_lines(rows))

    def _write_case(self, file: ByteSink) -> None:
        file.write(json.dumps(self.case, indent=1, sort_keys=True, ensure_ascii=False).encode())

    def _write_readme(self, file: ByteSink) -> None:
        statement = self.statement
        assert statement.customer  # noqa: S101 - a pack is of a customer
        total = as_amount(statement.total_minor, minor_unit_places(statement.currency))
        file.write(
            README.format(
                number=self.number or "without a number",
                customer=statement.customer.company_name,
                month=f"{statement.month:%Y-%m}",
                total=f"{total} {statement.currency}",
                closed_at=f"{statement.closed_at:%Y-%m-%d %H:%M} UTC",
            ).encode()
        )

    def _of_accounts(self, rows_of: Callable[[list[int]], Iterable[Sequence[Any]]]) -> Iterator[Sequence[Any]]:
        waiting = iter(self.accounts)
        while some := list(islice(waiting, _TOGETHER)):
            yield from rows_of(some)

    def _readings(self, accounts: list[int]) -> Iterator[Sequence[Any]]:
        of_account = self._periods(accounts).filter(account=OuterRef("account"))
        found = UsageSnapshot.objects.filter(
            Exists(of_account.filter(reported_start_on=OuterRef("period_start_on"))), account__in=accounts
        )
        columns = (
            "account", "account__provider_id", "period_start_on", "period_end_on", "as_of", "used", "allowed",
            "package", "source",
        )  # fmt: skip
        yield from found.order_by("account", "as_of", "seq").values_list(*columns).iterator(chunk_size=_TOGETHER)

    def _periods(self, accounts: list[int]) -> QuerySet[UsagePeriod]:
        """Return the billing periods of the month, also those that moved to another one or were joined since, and those
        of adjustments."""
        versions = FigureVersion.objects.filter(account__in=accounts, month=self.statement.month)
        wanted = Q(month=self.statement.month) | Q(pk__in=versions.values("period")) | Q(pk__in=self._adjusted())
        return UsagePeriod._base_manager.filter(wanted, account__in=accounts)

    def _adjusted(self) -> QuerySet[StatementLine, Any]:
        return self.adjustments.order_by().exclude(figure=None).values("figure__period")

    def _statistics(self, accounts: list[int]) -> Iterator[Sequence[Any]]:
        """Yield the days of the billing periods as the last statistics that know them report them."""
        spans: dict[int, list[Any]] = {}
        for account, start, end in self._periods(accounts).values_list("account", "start_on", "end_on"):
            spans.setdefault(account, []).append((f"{start}", f"{end}"))
        found = (
            StatisticsReading.objects.filter(account__in=spans).select_related("account").order_by("account", "as_of")
        )
        for reading in found.iterator(chunk_size=_TOGETHER):
            for day, requests in sorted(reading.days.items()):
                if any(start <= day <= end for start, end in spans[reading.account_id]):
                    yield reading.account_id, reading.account.provider_id, reading.as_of, day, requests

    def _decisions(self, accounts: list[int]) -> Iterator[Sequence[Any]]:
        """Yield decisions about figures and anomalies of the month, and anomalies that nobody decided."""
        periods = self._periods(accounts)
        about = ("kind", "opened_at", "before", "after")
        decisions = Decision.objects.filter(Q(period__in=periods) | Q(anomaly__period__in=periods))
        rows = decisions.exclude(anomaly__kind__in=_OF_COST).select_related(
            "by", "period__account", "anomaly__period__account"
        )
        for each in rows.order_by("at", "pk").iterator(chunk_size=_TOGETHER):
            anomaly = each.anomaly
            period = each.period or (anomaly.period if anomaly else None)
            yield [
                *_period_cells(period), *([getattr(anomaly, name) for name in about] if anomaly else [""] * 4),
                each.verdict, each.quantity, each.reason, str(each.by) if each.by else "", each.at,
            ]  # fmt: skip
        undecided = Anomaly.objects.filter(period__in=periods, decisions=None).exclude(kind__in=_OF_COST)
        for row in undecided.select_related("period__account").order_by("pk").iterator(chunk_size=_TOGETHER):
            yield [*_period_cells(row.period), *(getattr(row, name) for name in about), "", None, "", "", None]

    def _figures(self, accounts: list[int]) -> Iterable[Sequence[Any]]:
        of_month = Q(month=self.statement.month) | Q(period__in=self._adjusted())
        found = FigureVersion.objects.filter(of_month, account__in=accounts)
        columns = (
            "account", "account__provider_id", "start_on", "end_on", "n", "status", "used", "high", "allowed",
            "package", "cause", "at", "from_batch", "to_batch",
        )  # fmt: skip
        return found.order_by("account", "start_on", "n").values_list(*columns).iterator(chunk_size=_TOGETHER)

    def _adjustments(self) -> Iterator[Sequence[Any]]:
        """Yield the adjustments that this statement has, and those of later ones that correct it."""
        rows = self.adjustments.select_related("statement", "adjusts", "account")
        places = minor_unit_places(self.statement.currency)
        for line in rows.order_by("statement__month", "statement", "n").iterator(chunk_size=_TOGETHER):
            adjusted = line.adjusts.number if line.adjusts else None
            yield [
                statement_number(line.statement.number, self.prefix), f"{line.statement.month:%Y-%m}", line.n,
                statement_number(adjusted, self.prefix), line.account_id,
                (line.account.provider_id or "") if line.account else "", line.start_on, line.end_on, line.quantity,
                line.rate, line.per, as_amount(line.amount_minor, places), line.statement.currency,
            ]  # fmt: skip


def _period_cells(period: Any) -> list[Any]:
    return [period.account_id, period.account.provider_id, period.start_on, period.end_on] if period else [""] * 4


README = """Statement {number}
{customer}, {month}
Total, net: {total}
Closed: {closed_at}

statement.csv    The lines as they were closed.
case.json        Everything the lines were rated from: prices, contract, offerings, states, usage.
                 "manage.py rate case.json" calculates the lines again, all but adjustments and opening balances.
                 Its accounts have the account key as ID.
readings.csv     Usage as the provider reported it, each reading that differed from the one before.
statistics.csv   Requests per day as the provider's statistics reported them. Later rows of a day replace earlier ones.
decisions.csv    Readings that contradicted each other, and what the team decided: who, when, and why.
figures.csv      The usage figure of each billing period in all its versions. One without "until batch" is current.
adjustments.csv  Lines that correct an earlier statement here, and lines of later statements that correct this one.

Times are UTC. Dates of billing periods are inclusive. An empty cell is an unknown value. It doesn't mean zero.
"""
