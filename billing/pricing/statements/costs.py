"""Draft statements of connections: what the provider charges, by a cost price list or as shares of its one invoice.

A connection can have a hundred thousand accounts, so they are read and rated in chunks, and lines are stored as they
come. They are in the order of accounts; those of one account are in the order of R7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

from django.db import transaction

from billing.models import ConnectionBilling, PooledSnapshot, Side, Statement
from billing.pricing.rating.case import ListPrices
from billing.pricing.statements.agreements import PriceCatalog
from billing.pricing.statements.cases import cost_case
from billing.pricing.statements.drafts import RULES, RatingCounts
from billing.pricing.statements.facts import AccountFacts, ConnectionFacts, World, account_facts, by_customer
from billing.pricing.statements.invoice_shares import last_reports, read_after_end, removed_periods, share_reports
from billing.pricing.statements.locks import lock_month
from billing.pricing.statements.results import Books, Draft, rate_prepared
from billing.pricing.statements.storage import (
    Owner,
    Rated,
    add_findings,
    add_lines,
    clear,
    closed_owners,
    fill,
    remove_drafts,
    store_drafts,
    stored_drafts,
)
from billing.usage.ledger import last_batch
from customers.models import Account

CHUNK = 2_000
CostSource = ConnectionBilling.CostSource


class CostRater:
    """Reads and rates the connections of one month."""

    def __init__(self, month: date, *, now: datetime) -> None:
        self.month, self.now = month, now
        self.world, self.catalog, self.books = World(month, now=now), PriceCatalog(), Books()
        self.batch = 0

    def refresh(self, pk: int) -> bool:
        """Rate the connection if its inputs changed; return whether they did."""
        with transaction.atomic():
            lock_month(Side.COST, self.month, pk)
            if closed_owners(Side.COST, self.month, [pk]):
                return False
            self.batch = last_batch()  # before the figures are read
            # As for customers: what changed since the run began counts.
            self.world = World(self.month, now=self.now)
            self.catalog.renew()
            connection = self.world.connections[pk]
            inputs = self._digest(connection)
            stored = stored_drafts(Side.COST, self.month, [connection.pk])
            if not inputs:
                remove_drafts(list(stored.values_list("pk", flat=True)))
                return False
            if set(stored.values_list("inputs", flat=True)) == {inputs}:
                return False
            self._rate(connection, inputs)
        return True

    def _digest(self, connection: ConnectionFacts) -> str:
        """Return the digest of everything the connection is rated from; "" if there is nothing to rate."""
        digest = hashlib.sha256(f"{RULES} {self.month} {connection}".encode())
        if prices := self._prices(connection):
            digest.update(",".join(version.id for version in prices.versions).encode())
        if reports := self._reports(connection):
            for report in reports:
                is_over = read_after_end(report)
                digest.update(f"{report.pk} {report.raw_sha256} {is_over} {removed_periods(report)}".encode())
            digest.update(repr(self.world.moves).encode())
            known = Account.objects.filter(connection=connection.pk).order_by("pk").values_list("pk", "provider_id")
            digest.update(repr(list(known)).encode())
            return digest.hexdigest()
        number = 0
        for chunk in self._chunks(connection):
            number += len(chunk)
            for account in chunk:
                digest.update(repr(account.as_rated).encode())
        return digest.hexdigest() if number else ""

    def _prices(self, connection: ConnectionFacts) -> ListPrices | None:
        is_listed = connection.cost_source == CostSource.PRICE_LIST and connection.cost_list
        return self.catalog.load_row(connection.cost_list) if is_listed and connection.cost_list else None

    def _reports(self, connection: ConnectionFacts) -> list[PooledSnapshot]:
        shared = (CostSource.BY_VOLUME, CostSource.BY_PROVIDER_SHARE)
        return last_reports(connection.pk, self.month) if connection.cost_source in shared else []

    def _chunks(self, connection: ConnectionFacts) -> Iterator[list[AccountFacts]]:
        """Yield the connection's accounts, each with who owned it; one with two owners is two of them."""
        rows, after = Account.objects.filter(connection=connection.pk), 0
        while pks := list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:CHUNK]):
            after = pks[-1]
            owned = by_customer(account_facts(Account.objects.filter(pk__in=pks), self.world))
            yield sorted((each for of_one in owned.values() for each in of_one), key=lambda each: each.pk)

    def _rate(self, connection: ConnectionFacts, inputs: str) -> None:
        if reports := self._reports(connection):
            drafts = share_reports(reports, connection.cost_source, world=self.world)
            self._store(connection, inputs, drafts)
        elif prices := self._prices(connection):
            self._rate_accounts(connection, prices, inputs)
        else:
            # A source without what it needs: no cost list, or no report of the month.
            kind = "no_report" if connection.cost_source else "no_cost_source"
            finding = {"account_id": None, "kind": kind, "offering": "", "detail": {"connection": connection.name}}
            draft = Draft("", 0, None, False, False, [], [], [finding])
            self._store(connection, inputs, [draft])

    def _store(self, connection: ConnectionFacts, inputs: str, drafts: Sequence[Draft]) -> None:
        rated = Rated(Owner(Side.COST, connection.pk), inputs, drafts)
        store_drafts([rated], month=self.month, batch=self.batch, now=self.now)

    def _rate_accounts(self, connection: ConnectionFacts, prices: ListPrices, inputs: str) -> None:
        currency = self.catalog.currencies[prices.id]
        total = Draft(currency, 0, None, False, True, [], [], [])
        # The row first, with no lines: they are added chunk by chunk.
        store_drafts(
            [Rated(Owner(Side.COST, connection.pk), inputs, [total])], month=self.month, batch=self.batch, now=self.now
        )
        statement = stored_drafts(Side.COST, self.month, [connection.pk]).get(currency=currency)
        clear([statement.pk])
        sums, versions = _Sums(), set[str]()
        for chunk in self._chunks(connection):
            for part in _once_each(chunk):
                case = cost_case(part, prices, currency=currency, month=self.month)
                draft = rate_prepared(case, self.books, self.catalog.version_pks)
                draft.lines.sort(key=lambda line: line["account_id"])  # stable: the lines of one account stay in order
                sums.add(draft)
                versions.update(draft.versions)
                add_lines((statement.pk, line) for line in sums.numbered(draft.lines))
                add_findings((statement.pk, finding) for finding in draft.findings)
        sums.finish(total, versions)
        fill(statement, total, inputs=inputs, batch=self.batch, now=self.now)
        statement.lines_count, statement.findings_count = sums.lines, sums.findings
        statement.save(
            update_fields=[
                "total_minor", "total_high_minor", "open_ended", "is_exact", "lines_count", "findings_count",
                "versions", "inputs", "batch", "rated_at",
            ]
        )  # fmt: skip


class _Sums:
    """Sums of the drafts of all chunks."""

    def __init__(self) -> None:
        self.low = self.high = self.lines = self.findings = 0
        self.open_ended, self.is_exact = False, True

    def add(self, draft: Draft) -> None:
        self.low += draft.total_minor
        self.high += draft.total_minor if draft.total_high_minor is None else draft.total_high_minor
        self.open_ended |= draft.open_ended
        self.is_exact &= draft.is_exact
        self.findings += len(draft.findings)

    def numbered(self, lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for line in lines:
            self.lines += 1
            yield line | {"n": self.lines}

    def finish(self, draft: Draft, versions: set[str]) -> None:
        draft.total_minor, draft.open_ended, draft.is_exact = self.low, self.open_ended, self.is_exact
        draft.total_high_minor = None if self.high == self.low or self.open_ended else self.high
        draft.versions = sorted(versions)


def _once_each(accounts: list[AccountFacts]) -> list[list[AccountFacts]]:
    """Return the accounts in groups that have each at most once."""
    groups: list[dict[int, AccountFacts]] = [{}]
    for each in accounts:
        group = next((one for one in groups if each.pk not in one), None)
        if group is None:
            group = {}
            groups.append(group)
        group[each.pk] = each
    return [list(each.values()) for each in groups if each]


def cost_draft_of(connection: int, month: date, *, now: datetime) -> list[Statement]:
    """Return the connection's statements of a month: drafts are rated again if anything changed."""
    CostRater(month, now=now).refresh(connection)
    return list(stored_drafts(Side.COST, month, [connection]).order_by("currency"))


def rate_costs(month: date, *, now: datetime) -> RatingCounts:
    """Rate all connections of a month whose inputs changed."""
    rater, counts = CostRater(month, now=now), RatingCounts()
    for connection in sorted(rater.world.connections):
        counts.compared += 1
        counts.rated += rater.refresh(connection)
    return counts
