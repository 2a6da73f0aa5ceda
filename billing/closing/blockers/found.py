"""Finds what blocks statements: from their findings and lines, and from the comparison with the provider's invoices."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db.models import Q

from billing.closing.blockers.kinds import (
    DIFFERENCE,
    IGNORED,
    INTERVAL,
    NO_REFERENCE,
    OF_FIGURES,
    REPORT_NOT_FINAL,
    UNKNOWN_ACCOUNT,
)
from billing.closing.blockers.kinds import WITHOUT_ACCOUNT as WHOLE
from billing.models import InvoiceComparison, LineKind, Side, Statement, StatementFinding, StatementLine
from billing.pricing.references import customer_reference
from billing.pricing.statements.labels import OF_COST
from billing.pricing.statements.results import NOTED
from billing.usage.periods import last_day
from customers.models import Customer

MOST = 2**62
# Leaves amounts open beside the figure: deciding the figure doesn't settle it, and a person may accept it.
AT_CHANGE = "usage_at_change_unknown"
# Usage that isn't known has no line whose amount could be open: nothing limits it.
OF_USAGE = OF_FIGURES | {"never_read", "overage_unpriced"}
Detail = dict[str, Any]


@dataclass(slots=True)
class FoundBlocker:
    """A blocker as it is found now. `money` None: nothing limits the amount that depends on it."""

    key: str
    kind: str
    owner: int
    account: int | None = None
    offering: str = ""
    currency: str = ""
    money: int | None = 0
    details: list[Detail] = field(default_factory=list)

    @property
    def weight(self) -> int:
        return MOST if self.money is None else abs(self.money)

    @property
    def fingerprint(self) -> str:
        """Identify what a person accepts: another amount or other details are another question."""
        told = f"{self.kind} {self.money} {self.currency} {sorted(map(repr, self.details))}"
        return hashlib.sha256(told.encode()).hexdigest()

    def add(self, detail: Detail, money: int | None) -> None:
        self.details.append(detail)
        self.money = None if money is None or self.money is None else self.money + money


class _Found:
    """Blockers by key, as they are collected. A customer and a connection may have the same number."""

    def __init__(self, side: Side) -> None:
        self.by_key: dict[str, FoundBlocker] = {}
        self._prefix = "connection " if side == Side.COST else ""

    def at(self, kind: str, owner: int, currency: str, *, account: int | None = None, name: str = "") -> FoundBlocker:
        # Amounts of two currencies aren't added.
        key = f"{kind}/{self._prefix}{owner}/{account or ''}/{currency}/{name}"[:300]
        if key not in self.by_key:
            offering = name if kind not in (UNKNOWN_ACCOUNT, DIFFERENCE) else ""
            self.by_key[key] = FoundBlocker(key, kind, owner, account, offering, currency)
        return self.by_key[key]


def customer_blockers(month: date, customers: Collection[int]) -> list[FoundBlocker]:
    """Return what blocks the draft statements of these customers. Always the same number of queries."""
    found = _Found(Side.SELL)
    drafts = _drafts(Side.SELL, month, customers)
    _add_findings(found, drafts, "customer_id")
    _add_missing_references(found, drafts, month)
    return list(found.by_key.values())


def connection_blockers(month: date, connections: Collection[int]) -> list[FoundBlocker]:
    """Return what blocks the cost statements of these connections by itself, beside the figures of customers."""
    found = _Found(Side.COST)
    drafts = _drafts(Side.COST, month, connections)
    # The figures of customers' accounts block their statements already; what else is the same finding is left out.
    only = Q(kind__in=[*OF_COST, "unpriced", "several_packages"]) | Q(account=None) | Q(account__is_test=True)
    _add_findings(found, drafts, "connection_id", only)
    lines = StatementLine.objects.filter(
        statement__in=drafts, kind=LineKind.INVOICE_SHARE, account=None, because__share="unknown"
    )
    for statement, amount, because in lines.order_by("pk").values_list("statement", "amount_minor", "because"):
        row = drafts[statement]
        blocker = found.at(UNKNOWN_ACCOUNT, row["connection_id"], row["currency"], name=str(because.get("id", "")))
        blocker.add({"id": because.get("id", ""), "period": because.get("period")}, amount)
    for each in InvoiceComparison.objects.filter(month=month, connection__in=connections, closing=None):
        if abs(each.accumulated_minor) > each.tolerance_minor:
            blocker = found.at(DIFFERENCE, each.connection_id, each.currency, name=each.currency)
            blocker.add({"difference": each.difference_minor, "carried": each.carried_minor}, each.accumulated_minor)
    return list(found.by_key.values())


def _drafts(side: Side, month: date, owners: Collection[int]) -> dict[int, dict[str, Any]]:
    column = "customer" if side == Side.SELL else "connection"
    rows = Statement.objects.filter(
        side=side, month=month, state=Statement.State.DRAFT, **{f"{column}__in": list(owners)}
    )
    wanted = ("pk", "customer_id", "connection_id", "currency", "total_minor", "lines_count", "is_exact")
    return {row["pk"]: row for row in rows.order_by("pk").values(*wanted)}


def _add_findings(found: _Found, drafts: Mapping[int, dict[str, Any]], owner: str, only: Q | None = None) -> None:
    inexact = [pk for pk, row in drafts.items() if not row["is_exact"]]
    if not inexact:
        return
    open_lines = _open_lines(inexact)
    findings = StatementFinding.objects.filter(only or Q(), statement__in=inexact)
    kinds: dict[tuple[int, int | None], set[str]] = defaultdict(set)
    intervals: dict[tuple[int, int | None], Detail] = {}
    for statement, account, code, offering, detail in (
        findings.exclude(kind__in=(NOTED | IGNORED) - {INTERVAL})
        .order_by("pk")
        .values_list("statement", "account", "kind", "offering", "detail")
    ):
        kinds[statement, account].add(code)
        if code == INTERVAL:
            intervals.setdefault((statement, account), {"account": account, **detail})
            continue
        row = drafts[statement]
        kind = REPORT_NOT_FINAL if code == "not_final" and not account else code
        about = None if kind in WHOLE else account
        money = open_lines.get((statement, about), None if kind in OF_USAGE else 0) if about is not None else None
        blocker = found.at(kind, row[owner], row["currency"], account=about, name=offering)
        # Periods of one account share its open amount.
        blocker.add({"account": account, **detail}, money if not blocker.details or money is None else 0)
    if only is None:
        for (of_statement, of), left in open_lines.items():
            if of is not None and _is_about_interval(kinds.get((of_statement, of), set())):
                row = drafts[of_statement]
                told = intervals.get((of_statement, of), {"account": of})
                found.at(INTERVAL, row[owner], row["currency"], account=of).add(told, left)


def _is_about_interval(codes: set[str]) -> bool:
    """Return whether an amount is open because of the figure's interval, and no other blocker is about the figure."""
    return not codes & OF_FIGURES - {INTERVAL} and (INTERVAL in codes or AT_CHANGE not in codes)


def _open_lines(statements: Collection[int]) -> dict[tuple[int, int | None], int | None]:
    """Return by statement and account how much its lines leave open; None if nothing limits it."""
    is_open = Q(amount_high_minor__isnull=False) | Q(open_ended=True)
    rows = StatementLine.objects.filter(is_open, statement__in=statements)
    found: dict[tuple[int, int | None], int | None] = defaultdict(int)
    for statement, account, low, high, endless in rows.order_by("pk").values_list(
        "statement", "account", "amount_minor", "amount_high_minor", "open_ended"
    ):
        known = found[statement, account]
        found[statement, account] = (
            None if endless or known is None else known + abs((low if high is None else high) - low)
        )
    return dict(found)


def _add_missing_references(found: _Found, drafts: Mapping[int, dict[str, Any]], month: date) -> None:
    billed = [row for row in drafts.values() if row["lines_count"]]
    known = Customer.objects.filter(pk__in={row["customer_id"] for row in billed})
    references = dict(known.annotate(known_by=customer_reference(last_day(month))).values_list("pk", "known_by"))
    for row in billed:
        if not references[row["customer_id"]]:
            found.at(NO_REFERENCE, row["customer_id"], row["currency"]).add({}, row["total_minor"])
