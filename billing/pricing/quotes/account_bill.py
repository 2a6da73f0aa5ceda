"""The bill of an account so far: its lines on this month's draft statements of its customer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import DatabaseError

from billing.models import Side, Statement, StatementFinding, StatementLine
from billing.pricing.statements.amounts import Amount
from billing.pricing.statements.drafts import draft_of
from billing.pricing.statements.explanations import ShownLine, shown_lines
from billing.pricing.statements.labels import FindingLabel, finding_label
from billing.pricing.statements.results import NOTED
from customers.models import Account

LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class AccountBill:
    """The account's part of one statement. `findings` make it less than exact: label and offering, once each."""

    statement: Statement
    total: Amount
    lines: Sequence[ShownLine]
    more: int
    findings: Sequence[tuple[FindingLabel, str]]

    @property
    def is_exact(self) -> bool:
        return self.total.is_exact and not self.findings


def account_bills(account: Account, month: date, *, now: datetime) -> list[AccountBill]:
    """Return the account's part of the statements of a month, one of each currency. The drafts are rated again first,
    if anything changed."""
    try:
        statements = draft_of(account.customer, month, now=now)
    except DatabaseError:  # another process rates them and holds the lock: what is stored is shown
        statements = list(Statement.objects.filter(side=Side.SELL, customer=account.customer, month=month))
    found = [_bill(each, account) for each in statements]
    return [each for each in found if each.lines or each.findings]


def _bill(statement: Statement, account: Account) -> AccountBill:
    lines = list(
        StatementLine.objects.filter(statement=statement, account=account).select_related("account").order_by("n")
    )
    total = Amount(0, statement.currency)
    for line in lines:
        total += Amount(line.amount_minor, statement.currency, line.amount_high_minor, line.open_ended)
    rows = StatementFinding.objects.filter(statement=statement, account=account).exclude(kind__in=NOTED)
    found = dict.fromkeys(rows.order_by("pk").values_list("kind", "offering"))
    return AccountBill(
        statement=statement,
        total=total,
        lines=shown_lines(lines[:LINES_SHOWN], statement.currency),
        more=max(0, len(lines) - LINES_SHOWN),
        findings=[(finding_label(kind), offering) for kind, offering in found],
    )
