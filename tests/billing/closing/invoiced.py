"""Provider invoices of tests: valid, with few words."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing.closing.invoices import commands
from billing.models import ConnectionBilling, ProviderInvoice
from billing.pricing.statements.costs import cost_draft_of
from billing.pricing.statements.drafts import rate_month
from customers.models import Account, Connection
from portal.commands import Command
from tests.billing.pricing.statements.agreed import BASE, FIRST, LAST, NOVEMBER, NOW, OVERAGE, contract, price_list
from tests.support.factories import UserFactory


def by() -> Command:
    return Command(UserFactory(role="finance"), NOW)


def line(
    account: Account | None = None, minor: int = 8995, kind: str = "base", *, start: date = FIRST, end: date = LAST,
    text: str = "", offering: str = "",
) -> dict[str, Any]:  # fmt: skip
    """A line as it is stored, without its number."""
    return {
        "kind": kind,
        "account_id": account.pk if account else None,
        "account_text": text or (account.provider_id or "" if account else ""),
        "offering": offering,
        "description": "",
        "start_on": start,
        "end_on": end,
        "quantity": None,
        "amount_minor": minor,
    }


def invoice(
    connection: Connection, *lines: dict[str, Any], number: str = "2026-11", currency: str = "EUR", **facts: Any
) -> ProviderInvoice:
    """An invoice of December 1 over what its lines add up to."""
    values = {
        "issued_on": date(2026, 12, 1),
        "total_minor": sum(each["amount_minor"] for each in lines),
    } | facts
    numbered = [{"n": n, **each} for n, each in enumerate(lines, 1)]
    return commands.enter_invoice(
        by(), connection=connection, number=number, currency=currency, lines=numbered, **values
    )


def agreed(*accounts: Account, cost: str = "89.95", currency: str = "EUR", billed: bool = True) -> Connection:
    """Rate November: the accounts of one connection cost `cost` each, and customers pay 95."""
    connection = accounts[0].connection
    prices = price_list({**BASE, "amount": cost}, OVERAGE, name="Provider", side="cost", currency=currency)
    ConnectionBilling.objects.create(connection=connection, cost_source="price_list", cost_list=prices)
    if billed:
        sold = price_list({**BASE, "amount": "95"}, name="Standard")
        for each in accounts:
            contract(each.customer, sold)
    rate_month(NOVEMBER, now=NOW)
    cost_draft_of(connection.pk, NOVEMBER, now=NOW)
    return connection
