"""Rows of prices: lists of both sides in every state, contracts, billing of connections, and exchange rates."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from billing.pricing.connections.commands import edit_connection_billing
from billing.pricing.contracts import commands as contract_commands
from billing.pricing.lists import commands as list_commands
from billing.pricing.lists import drafts
from billing.pricing.parallel.commands import upload_month
from billing.pricing.parallel.spreadsheet import SheetRow
from billing.pricing.rates.commands import add_exchange_rate
from customers.models import Connection, Customer
from portal.access.models import User
from portal.commands import Command

OFFERING = "postkeeper.ei.pro-100k.v1"


def add(*, now: datetime) -> None:
    finance = User.objects.create_user("prices@stored.example", "a long test password", name="Fay", role="finance")
    command, today = Command(finance, now), now.date()
    lists = {}
    for side, amount in (("sell", "89.95"), ("cost", "61.20")):
        facts = {"name": f"Stored {side}", "side": side, "provider_kind": "sendgrid", "currency": "EUR"}
        lists[side] = list_commands.create_price_list(command, **facts)
        first = drafts.start_draft(command, price_list=lists[side])
        price = {"offering": OFFERING, "component": "base", "amount": amount}
        drafts.replace_prices(command, version=first, prices=[price], seen_edits=0)
        drafts.publish_version(command, version=first, valid_from=today - timedelta(days=90), seen_edits=1)
        drafts.start_draft(command, price_list=lists[side])
    discount = {"valid_from": today.isoformat(), "valid_until": None, "percent": "10.00", "kinds": ["base"]}
    for customer in Customer.objects.filter(archived_at=None).order_by("pk")[:2]:
        contract = contract_commands.start_contract(command, customer=customer)
        terms = {"valid_from": today, "list_sendgrid": str(lists["sell"].public_id), "commit": "500.00"}
        contract_commands.edit_contract(command, contract=contract, facts=terms)
        contract_commands.replace_term(
            command, contract=contract, part="discounts", index=None, value=discount, was=None
        )
        contract_commands.publish_contract(command, contract=contract, seen_edits=2)
    contract_commands.start_contract(command, customer=Customer.objects.filter(archived_at=None).order_by("pk")[0])
    connection = Connection.objects.filter(kind="sendgrid").order_by("pk")[0]
    bought = {"cost_source": "price_list", "cost_list": lists["cost"]}
    edit_connection_billing(command, connection=connection, facts=bought)
    add_exchange_rate(
        command,
        from_currency="USD",
        to_currency="EUR",
        rate=Decimal("0.92"),
        on=today - timedelta(days=1),
        source="ECB",
    )
    names = [customer.company_name for customer in Customer.objects.filter(archived_at=None).order_by("pk")[:2]]
    billed = [SheetRow(line, name, "", "EUR", 8995, "") for line, name in enumerate([*names, "Nobody"], 2)]
    upload_month(command, month=today.replace(day=1), filename="billed.csv", rows=billed, currency="EUR")
