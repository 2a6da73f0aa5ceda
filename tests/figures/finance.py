"""What finance does at the end of a month: enter the providers' invoices, accept what remains, and close the month.

Each step is a command of the portal, by a person of finance, and the worker closes. After each closing everything that
was closed before has to be byte by byte what it was.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.db.models import Model, QuerySet

from billing.closing.blockers.commands import accept_blocker
from billing.closing.blockers.kinds import blocker_text
from billing.closing.blockers.queries import open_blockers
from billing.closing.invoices.commands import enter_invoice
from billing.closing.invoices.texts import AccountNames
from billing.closing.months.up_to_date import check_month
from billing.closing.runs.commands import request_close
from billing.closing.runs.statements import open_drafts
from billing.closing.runs.verification import verify_closed_months
from billing.closing.runs.worker import close_month
from billing.models import (
    ConnectionBilling,
    InvoiceComparison,
    InvoiceMatch,
    MonthClosing,
    Statement,
    StatementCase,
    StatementLine,
    UsagePeriod,
)
from billing.usage.periods import last_day, month_after
from customers.models import Account
from portal.access.models import User
from portal.commands import Command
from tests.billing.pricing.statements.agreed import price_list
from tests.figures.world import World
from tests.rating.independent import rate_case
from tests.support.factories import UserFactory

STRANGER, STRANGE_MINOR = "stranger", 1000
Json = dict[str, Any]


@dataclass
class Finance:
    """A person of finance. `problems`: sentences about what closing, matching and verifying did wrong."""

    world: World
    costs: list[Json]
    person: User = field(default_factory=lambda: UserFactory(role="finance"))
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[int, str] = field(default_factory=dict)

    def command(self) -> Command:
        return Command(self.person, self.world.now)

    def agree_cost(self, *names: str) -> None:
        """Let these connections have a price list of their provider's cost."""
        prices = price_list(*self.costs, name="Provider", side="cost", currency="USD")
        for name in names:
            ConnectionBilling.objects.update_or_create(
                connection=self.world.connections[name], defaults={"cost_source": "price_list", "cost_list": prices}
            )

    # --- Invoices ---------------------------------------------------------------------------------------------------

    def enter_invoice(self, name: str, month: date, accounts: list[Json]) -> None:
        """Enter what the provider charges for what was really sent, and a line for an account that nobody here knows.

        `accounts`: those of the connection, as the simulator knows them.
        """
        connection, last = self.world.connections[name], last_day(month)
        names = AccountNames(connection.pk)
        texts = dict(Account.objects.filter(connection=connection).values_list("pk", "provider_id"))
        lines = [
            self._line(line["kind"], texts[int(line["account"])] or "", line["offering"], **line["service"])
            | {"quantity": line["quantity"], "amount_minor": int(line["amount"].replace(".", ""))}
            for line in rate_case(self._cost_case(month, accounts))["lines"]
        ]
        lines.append(
            self._line("base", STRANGER, "", start=f"{month}", end=f"{last}") | {"amount_minor": STRANGE_MINOR}
        )
        rows = [{"n": n, **line, "account_id": names.find(line["account_text"])} for n, line in enumerate(lines, 1)]
        enter_invoice(
            self.command(),
            connection=connection,
            number=f"{name}-{month:%Y-%m}",
            issued_on=month_after(month),
            currency="USD",
            total_minor=sum(row["amount_minor"] for row in rows),
            lines=rows,
        )
        self.counts["invoice lines"] += len(rows)

    def _line(self, kind: str, account: str, offering: str, *, start: str, end: str) -> Json:
        days = {"start_on": date.fromisoformat(start), "end_on": date.fromisoformat(end)}
        return {
            "kind": kind,
            "account_text": account,
            "offering": offering,
            "description": "",
            "quantity": None,
            **days,
        }

    def _cost_case(self, month: date, accounts: list[Json]) -> Json:
        version = {"id": "v", "valid_from": "2020-01-01", "prices": self.costs}
        prices = {"id": "cost", "provider": "sendgrid", "versions": [version]}
        return {
            "side": "cost", "currency": "USD", "month": f"{month:%Y-%m}", "customer": "", "price_lists": [prices],
            "contracts": [], "accounts": accounts,
        }  # fmt: skip

    # --- Closing ----------------------------------------------------------------------------------------------------

    def close(self, month: date, untrue: set[int]) -> None:
        """Close what nothing blocks. `untrue`: accounts whose figures of the month are not what was really sent."""
        check_month(month, now=self.world.now)
        for comparison in InvoiceComparison.objects.filter(month=month, closing=None).select_related("connection"):
            self.problems += self._unnamed(comparison, untrue)
        self._accept(month)
        run = request_close(self.command(), month=month)
        while close_month(run.pk, now=self.world.now):
            pass
        run.refresh_from_db()
        if run.state != MonthClosing.State.CLOSED:
            self.problems.append(f"{run} ended as {run.state}")
        self.counts["runs"] += 1
        self.counts["statements closed"] += run.statements_closed
        self.counts["held back"] += run.held_back
        self.problems += self._changed()

    def close_again(self, months: list[date], untrue: dict[date, set[int]]) -> None:
        """Close what was held back in these months."""
        for month in months:
            if open_drafts(month).exists():
                self.close(month, untrue[month])

    def _unnamed(self, comparison: InvoiceComparison, untrue: set[int]) -> Iterator[str]:
        """Yield what the comparison doesn't name, or names without reason."""
        matches = InvoiceMatch.objects.filter(comparison=comparison)
        strange = [
            (each.account_text, each.result, each.invoice_minor, each.cost_minor)
            for each in matches.filter(account=None)
        ]
        if strange != [(STRANGER, "only_provider", STRANGE_MINOR, None)]:
            yield f"{comparison}: without an account: {strange}"
        for each in matches.filter(account__isnull=False).exclude(result="equal"):
            self.counts["differences of provisional figures"] += 1
            if each.account_id not in untrue:
                said = f"{each.account_id} {each.kind} {each.result} {each.invoice_minor} {each.cost_minor}"
                yield f"{comparison}: {said}"
        self.counts["matches equal"] += comparison.equal
        if comparison.carried_minor:
            yield f"{comparison}: {comparison.carried_minor} carried"
        if not untrue and comparison.difference_minor != STRANGE_MINOR:
            yield f"{comparison}: a difference of {comparison.difference_minor}"

    def _accept(self, month: date) -> None:
        for blocker in open_blockers(month).order_by("pk"):
            if not blocker_text(blocker.kind).may_accept:
                self.counts[f"open: {blocker.kind}"] += 1
                continue
            reason = "The provider charges for an account that isn't ours."
            accept_blocker(self.command(), blocker=blocker, seen=blocker.fingerprint, reason=reason)
            self.counts[f"accepted: {blocker.kind}"] += 1

    # --- What was closed before -------------------------------------------------------------------------------------

    def _changed(self) -> Iterator[str]:
        """Yield problems of the chain, and closed statements that are not, byte by byte, what they were."""
        yield from verify_closed_months().problems
        now = _contents()
        for pk, content in self.kept.items():
            if now.get(pk) != content:
                yield f"statement {pk} changed after it was closed"
        self.kept = now


def _contents() -> dict[int, str]:
    """Return by closed statement (pk) a hash of its row, its lines and its case: all columns, whatever they are."""
    hashes: dict[int, Any] = defaultdict(hashlib.sha256)
    closed = Statement.objects.filter(state="closed")
    parts: tuple[tuple[str, QuerySet[Model]], ...] = (
        ("id", closed),
        ("statement_id", StatementLine.objects.filter(statement__in=closed).order_by("statement", "n")),
        ("statement_id", StatementCase.objects.filter(statement__in=closed)),
    )
    for column, rows in parts:
        for row in rows.values():
            hashes[row[column]].update(repr(sorted(row.items())).encode())
    return {pk: each.hexdigest() for pk, each in hashes.items()}


def untrue_accounts(month: date, truth: dict[tuple[str, date], Json]) -> set[int]:
    """Return accounts whose billing periods that end in the month, or their figures, are not the true ones."""
    accounts = dict(Account.objects.exclude(provider_id=None).values_list("provider_id", "pk"))
    true = {
        (accounts[name], start, end, int(each["used"]))
        for (name, start), each in truth.items()
        if name in accounts and (end := true_end(each)).replace(day=1) == month
    }
    rows = UsagePeriod.objects.filter(month=month, account__in=accounts.values())
    ours = set(rows.values_list("account", "start_on", "end_on", "used"))
    return {account for account, *_ in true ^ ours}


def true_end(true: Json) -> date:
    """Return the last day of a true billing period."""
    end: date | None = true.get("end")
    return end or date.fromisoformat(true["next_reset"]) - timedelta(days=1)
