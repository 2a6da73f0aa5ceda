"""Prices of the demo: price lists, contracts, what providers charge, and last month as it was billed elsewhere.

One customer has no contract, one a discount with a minimum commit, and one an add-on that its price list lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from billing.closing.invoices.commands import enter_invoice
from billing.closing.runs.commands import request_close
from billing.closing.runs.worker import close_month
from billing.models import InvoiceLineKind, LineKind, PriceList, Side, Statement, StatementLine
from billing.pricing.connections.commands import edit_connection_billing
from billing.pricing.contracts import commands as contract_commands
from billing.pricing.lists import commands as list_commands
from billing.pricing.lists import drafts
from billing.pricing.parallel.commands import upload_month
from billing.pricing.parallel.spreadsheet import SheetRow
from billing.pricing.rates.commands import add_exchange_rate
from billing.pricing.statements.amounts import places_of
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import rate_month
from billing.usage.periods import DAY, month_after
from customers.models import Connection, Customer
from portal.access.models import User
from portal.commands import Command
from portal.demo.clock import DemoClock
from portal.demo.companies import AHA, EU, GLOBAL, PLANS, Company

Price = dict[str, Any]
DOLLARS, EUROS, AHA_EUROS = "SendGrid, US dollars", "SendGrid, euros", "AhaSend, euros"
RESELLER = "SendGrid reseller prices"
# Base fee per month and overage per thousand emails: what customers pay, and what SendGrid charges.
SELL = {
    "free-100": ("0", "1.20"), "essentials-50k": ("24.95", "1.50"), "essentials-100k": ("44.95", "1.20"),
    "pro-100k": ("109", "1.10"), "pro-300k": ("299", "0.95"), "pro-1.5m": ("949", "0.65"),
}  # fmt: skip
COST = {
    "free-100": ("0", "0.90"), "essentials-50k": ("17.95", "1.10"), "essentials-100k": ("31.50", "0.90"),
    "pro-100k": ("76.50", "0.85"), "pro-300k": ("212", "0.72"), "pro-1.5m": ("680", "0.48"),
}  # fmt: skip
IP, CONTACTS = "postkeeper.x.ip.v2", "postkeeper.x.contacts-10k.v1"
# Months that are rated at the end, beside the current one.
MONTHS_RATED = 2
WITHOUT_CONTRACT = "Fablewright Press"
DISCOUNTED = "Tallgrass Credit Union"
# How last month was billed elsewhere: names that were written otherwise, and customers whose overage was forgotten.
MISSPELT = {"Harbor Loan Partners": "Harbour Loan Partners", "Kestrel Analytics": "Kestrel Analytics Inc."}
# On the provider's invoice: cents that it charges beyond its prices, and an account that nobody has anymore.
TOO_MUCH, REPLACED = 1_250, "legacy-batch@kestrel-analytics.example"
WITHOUT_OVERAGE = frozenset({"Copper Canyon Outfitters", "Paloma Florists"})


@dataclass
class DemoPrices:
    """Actions of finance in the demo, at the simulated time."""

    stage: DemoClock
    by: User
    lists: dict[str, PriceList] = field(default_factory=dict)

    def command(self, reason: str = "") -> Command:
        return Command(self.by, self.stage.now(), reason=reason)

    def publish(self) -> None:
        """Publish the price lists and say how connections are billed, before there is any customer."""
        today = self.stage.today.date()
        first = month_after(today.replace(day=1), -4)
        euros = [*packages(SELL, Decimal("0.92")), _addon(CONTACTS, "14"), _ip("36")]
        self._list(DOLLARS, "sendgrid", "USD", [*packages(SELL), _ip("39")], since=first)
        self._list(EUROS, "sendgrid", "EUR", euros, since=first)
        self._list(AHA_EUROS, "ahasend", "EUR", _every_account(), since=first)
        self._list(
            RESELLER,
            "sendgrid",
            "USD",
            [*packages(COST), _ip("30"), _addon(CONTACTS, "10")],
            since=first,
            side=Side.COST,
        )
        dearer = [*packages(SELL, Decimal("1.04")), _ip("39")]
        self._version(self.lists[DOLLARS], dearer, since=month_after(today.replace(day=1)), note="New year's prices")
        for name, facts in (
            (GLOBAL, {"cost_source": "price_list", "cost_list": self.lists[RESELLER]}),
            (EU, {"zone": "Europe/Berlin", "cost_source": "price_list", "cost_list": self.lists[RESELLER]}),
            (AHA, {"cost_source": "volume"}),
        ):
            edit_connection_billing(self.command(), connection=Connection.objects.get(name=name), facts=facts)

    def _list(
        self, name: str, kind: str, currency: str, prices: list[Price], *, since: date, side: Side = Side.SELL
    ) -> None:
        found = list_commands.create_price_list(
            self.command(), name=name, side=side.value, provider_kind=kind, currency=currency
        )
        self.lists[name] = found
        self._version(found, prices, since=since)

    def _version(self, price_list: PriceList, prices: list[Price], *, since: date, note: str = "") -> None:
        draft = drafts.start_draft(self.command(), price_list=price_list)
        drafts.replace_prices(self.command(), version=draft, prices=prices, seen_edits=draft.edits)
        draft.refresh_from_db()
        drafts.publish_version(self.command(), version=draft, valid_from=since, seen_edits=draft.edits, note=note)

    def agree(self, company: Company, customer: Customer) -> None:
        """Publish the customer's contract, from the month on in which its account is created."""
        if company.name == WITHOUT_CONTRACT or company.fate == "prospect":
            return
        draft = contract_commands.start_contract(self.command(), customer=customer)
        lists = [DOLLARS] if company.connection == GLOBAL else [EUROS, AHA_EUROS]
        facts: dict[str, Any] = {"valid_from": self.stage.now().date().replace(day=1)}
        facts |= {f"list_{self.lists[name].provider_kind}": str(self.lists[name].public_id) for name in lists}
        if company.name == DISCOUNTED:
            facts |= {"commit": "1200", "purchase_order": "PO-88213", "accounting_reference": company.reference}
        contract_commands.edit_contract(self.command(), contract=draft, facts=facts)
        if company.name == DISCOUNTED:
            discount = {
                "valid_from": facts["valid_from"].isoformat(),
                "valid_until": None,
                "percent": "10",
                "kinds": ["base", "overage"],
            }
            contract_commands.replace_term(
                self.command(), contract=draft, part="discounts", index=None, value=discount, was=None
            )
        draft.refresh_from_db()
        contract_commands.publish_contract(self.command(), contract=draft, seen_edits=draft.edits)

    def close_last_month(self) -> None:
        """Enter exchange rates, rate the months, and compare last month with how it was billed elsewhere."""
        now = self.stage.now()
        this_month = now.date().replace(day=1)
        for step in range(1, MONTHS_RATED + 1):
            last = month_after(this_month, 1 - step) - DAY
            rate = Decimal("0.92") + Decimal("0.004") * step
            add_exchange_rate(self.command(), from_currency="USD", to_currency="EUR", rate=rate, on=last, source="ECB")
        for step in range(MONTHS_RATED + 1):
            month = month_after(this_month, -step)
            rate_month(month, now=now)
            rate_costs(month, now=now)
        last_month = month_after(this_month, -1)
        rows = list(billed_elsewhere(last_month))
        if rows:
            upload_month(
                self.command(), month=last_month, filename=f"invoices-{last_month:%Y-%m}.csv", rows=rows, currency="USD"
            )
        self.enter_invoice(last_month)
        self.close(month_after(this_month, -2))

    def enter_invoice(self, month: date) -> None:
        """Enter what the provider invoiced for last month: one account is charged too much, and one that was replaced
        is still charged."""
        connection = Connection.objects.get(name=GLOBAL)
        lines = invoiced_lines(connection, month)
        if not lines:
            return
        enter_invoice(
            self.command(),
            connection=connection,
            number=f"SG-{month_after(month):%Y%m}-4417",
            issued_on=month_after(month),
            currency="USD",
            total_minor=sum(int(line["amount_minor"]) for line in lines),
            lines=lines,
        )

    def close(self, month: date) -> None:
        """Close a month. What something blocks is held back, as for anyone."""
        if Statement.objects.filter(month=month).exists():
            run = request_close(self.command(), month=month)
            close_month(run.pk, now=self.stage.now())


def invoiced_lines(connection: Connection, month: date) -> list[dict[str, Any]]:
    """Return the lines of the provider's invoice: those of the cost by our figures, but for two."""
    costs = StatementLine.objects.filter(statement__connection=connection, statement__month=month, amount_minor__gt=0)
    lines = [
        {
            "n": n,
            "kind": line.kind,
            "account_id": line.account_id,
            "account_text": line.account.provider_id if line.account else "",
            "offering": line.offering,
            "description": "",
            "start_on": line.start_on,
            "end_on": line.end_on,
            "quantity": None,
            "amount_minor": line.amount_minor + (TOO_MUCH if n == 1 else 0),
        }
        for n, line in enumerate(costs.filter(kind__in=InvoiceLineKind.values).select_related("account"), 1)
    ]
    if lines:
        lines.append(lines[-1] | {"n": len(lines) + 1, "account_id": None, "account_text": REPLACED})
    return lines


def packages(prices: Mapping[str, tuple[str, str]], factor: Decimal = Decimal(1)) -> list[Price]:
    """Return the prices of all packages. The largest one has a cheaper second tier."""
    found: list[Price] = []
    for plan, (base, rate) in prices.items():
        offering = f"postkeeper.ei.{plan}.v1"
        amount = f"{(Decimal(base) * factor).quantize(Decimal('0.01'))}"
        per = f"{(Decimal(rate) * factor).quantize(Decimal('0.0001'))}"
        tiers: list[dict[str, Any]] = [{"up_to": None, "rate": per}]
        if plan == "pro-1.5m":
            tiers = [{"up_to": 500_000, "rate": per}, {"up_to": None, "rate": f"{Decimal(per) - Decimal('0.05')}"}]
        found.append({"offering": offering, "component": "base", "amount": amount, "on_start": "prorated"})
        found.append(
            {"offering": offering, "component": "overage", "included": PLANS[plan], "per": 1000, "tiers": tiers}
        )
    return found


def _every_account() -> list[Price]:
    tiers = [{"up_to": 200_000, "rate": "0.70"}, {"up_to": None, "rate": "0.55"}]
    return [
        {"offering": "", "component": "base", "amount": "15", "on_start": "prorated"},
        {"offering": "", "component": "overage", "included": 25_000, "per": 1000, "tiers": tiers},
    ]


def _ip(amount: str) -> Price:
    return {"offering": IP, "component": "dedicated_ip", "amount": amount, "prorated": True}


def _addon(offering: str, amount: str) -> Price:
    return {"offering": offering, "component": "addon", "amount": amount}


def billed_elsewhere(month: date) -> Iterator[SheetRow]:
    """Yield last month's invoices as another system would have billed them: mostly alike, and differently where a
    person forgets: overage, a discount, a minimum commit, or a customer."""
    statements = Statement.objects.filter(side=Side.SELL, month=month).exclude(currency="").select_related("customer")
    line = 1
    for n, statement in enumerate(statements.order_by("customer__company_name")):
        name = statement.customer.company_name if statement.customer else ""
        if n % 17 == 11:
            continue
        line += 1
        amount = _billed(statement, name)
        text = MISSPELT.get(name, (statement.customer and statement.customer.external_reference) or name)
        yield SheetRow(line, text, "", statement.currency, amount, "")
    yield SheetRow(line + 1, "Onboarding workshop", "", "USD", 450 * 10 ** places_of("USD"), "One-off, October")


def _billed(statement: Statement, name: str) -> int:
    lines = StatementLine.objects.filter(statement=statement)
    if name == DISCOUNTED:
        return sum(line.gross_minor for line in lines if line.kind != LineKind.COMMIT)
    if name in WITHOUT_OVERAGE:
        return sum(line.amount_minor for line in lines if line.kind != LineKind.OVERAGE)
    if statement.pk % 13 == 0:
        return statement.total_minor + 500
    return statement.total_minor
