"""Usage of a month that ended, read from the sandbox as it went by: with a contradiction, and with unknown last hours.

Runs inside an installation (`Installation.python`). Both clocks are passed by hand until the readings are stored; then
the sandbox gets the real time, and everything else is done by real processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from billing.models import BillingTerms, ConnectionBilling, SyncRun
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import rate_month
from billing.usage import period_ends, runs
from billing.usage import sync as usage_sync
from billing.usage.periods import month_after
from customers.connections import commands as connection_commands
from customers.models import Account, Connection, Customer
from portal.commands import Command
from tests.billing.pricing.statements.agreed import BASE, OVERAGE, account, contract, moment, price_list
from tests.support.ahasend import AHASEND_ACCOUNT, AHASEND_KEY
from tests.support.factories import PACKAGE_ROW, CustomerFactory
from tests.support.sandbox import ADMIN_KEY, KEY, SandboxAdmin

# The story's customers: one whose counter falls, one whose end is unknown, and one that pays the same in any case.
CUSTOMERS = ("Larkfield Outdoor", "Northwind Kitchens", "Tallgrass Optics")
NEVER_READ = {f"usage_{name}": None for name in ("used", "allowed", "overage", "start_on", "end_on", "read_at")}
ANCHOR = 16
FLAT_PACKAGE = "postkeeper.ei.essentials-100k.v1"


def ended_month(today: date) -> date:
    """Return the last month that ended a week ago or more."""
    return month_after((today - timedelta(days=7)).replace(day=1), -1)


def sendgrid(today: str) -> None:
    """Three accounts whose billing period ends on the 15th, with a price list for what they pay and for what they
    cost."""
    admin, month = _admin(), ended_month(date.fromisoformat(today))
    begin = month_after(month, -1).replace(day=ANCHOR)
    _at(admin, begin)
    connection = _connect(admin, KEY, {"name": "SendGrid", "kind": "sendgrid"})
    flat = OVERAGE | {"offering": FLAT_PACKAGE, "included": 10**9}
    sold = price_list(BASE, OVERAGE, BASE | {"offering": FLAT_PACKAGE, "amount": "49"}, flat)
    base = BASE | {"amount": "60"}
    overage = OVERAGE | {"tiers": [{"up_to": None, "rate": "0.50"}]}
    bought = price_list(base, base | {"offering": FLAT_PACKAGE}, overage, flat, name="Provider", side="cost")
    accounts = []
    for n, name in enumerate(CUSTOMERS):
        customer = _customer(n, name)
        package = FLAT_PACKAGE if n == 2 else PACKAGE_ROW["name"]
        there = admin.add_account(
            email=customer.email, offerings=[PACKAGE_ROW | {"name": package}], anchor_day=ANCHOR,
            created_at=moment(begin, 0).isoformat(),
        )  # fmt: skip
        facts: dict[str, Any] = {"provider_id": there["id"], "v2_username": there["username"], "email": customer.email}
        accounts.append(account(customer, connection=connection, package=package, **facts, **NEVER_READ))
        contract(customer, sold)
    _begin(accounts, begin)
    ConnectionBilling.objects.create(connection=connection, cost_source="price_list", cost_list=bought)
    for day, readings in (
        (month_after(month, -1).replace(day=25), (100_000, 60_000, 20_000)),
        (month.replace(day=5), (150_000, 90_000, 40_000)),
        (month.replace(day=10), (130_000, 120_000, 60_000)),
        (month.replace(day=ANCHOR + 1), ()),
    ):
        _at(admin, day)
        for each, used in zip(accounts, readings, strict=False):
            admin.call("POST", f"accounts/{each.provider_id}/adjustments", {"used": used})
        _read(connection, moment(day))
    _ready(admin, month)


def ahasend(today: str) -> None:
    """Three accounts of one shared invoice; the last report of the month was read days before its end."""
    admin, month = _admin(), ended_month(date.fromisoformat(today))
    _at(admin, month)
    facts = {"name": "AhaSend", "kind": "ahasend", "usage_source": "pooled", "account_id": AHASEND_ACCOUNT}
    connection = _connect(admin, AHASEND_KEY, facts)
    admin.aha.change(AHASEND_ACCOUNT, switches={"aha_currency": "eur", "aha_usage_lag_seconds": 0})
    overage = {"included": 25_000, "per": 1000, "tiers": [{"up_to": None, "rate": "0.70"}]}
    prices = [{"offering": "", "component": "base", "amount": "15"}, {"offering": "", "component": "overage"} | overage]
    sold = price_list(*prices, name="AhaSend", kind="ahasend")
    accounts = []
    for n, name in enumerate(CUSTOMERS):
        customer = _customer(n, name)
        there = admin.aha.add_account(name, website="company.example", created_at=moment(month, 0).isoformat())
        settings = {"name": name, "website": "company.example", "monthly_cap": 20_000 if n == 2 else 400_000}
        row = account(
            customer, connection=connection, package="", spans=False, provider_id=there["id"], settings=settings,
            offerings=[], desired_offerings=[], **NEVER_READ,
        )  # fmt: skip
        accounts.append(row)
        contract(customer, sold)
    _begin(accounts, month)
    ConnectionBilling.objects.create(connection=connection, cost_source="volume")
    for day, sent in ((4, (60_000, 40_000, 5_000)), (14, (50_000, 70_000, 4_000)), (24, (10_000, 10_000, 1_000))):
        _at(admin, month.replace(day=day))
        for each, count in zip(accounts, sent, strict=True):
            admin.aha.add_usage(each.provider_id or "", count)
        if day == 24:  # a share falls, and the total with it
            said = {"sub_accounts": {accounts[0].provider_id: {"reception_count": 100_000}}}
            _override(admin, said | {"total": {"reception_count": 230_000}})
        _read(connection, moment(month.replace(day=day), 13))
    # One report after the end: it is the invoice, and says nothing of mail that was counted later.
    admin.aha.change(AHASEND_ACCOUNT, switches={"aha_ended_period_hours": 24})
    _read(connection, moment(month_after(month), 1))
    _ready(admin, month)


def _admin() -> SandboxAdmin:
    return SandboxAdmin(os.environ["SANDBOX_URL"], ADMIN_KEY)


def _at(admin: SandboxAdmin, day: date) -> None:
    admin.set_clock(moment(day).isoformat())


def _ready(admin: SandboxAdmin, month: date) -> None:
    """Give the sandbox the real time, and rate the month as the scheduler does every half hour. It can be closed."""
    now = timezone.now()
    admin.set_clock(now.isoformat(), frozen=False)
    BillingTerms.objects.update_or_create(pk=1, defaults={"grace_days": 0})
    period_ends.assess_due(now=now)
    rate_month(month, now=now)
    rate_costs(month, now=now)


def _connect(admin: SandboxAdmin, key: str, facts: dict[str, Any]) -> Connection:
    facts = facts | {"base_url": admin.base_url, "requests_per_minute": 60_000}
    return connection_commands.add_connection(Command(None), api_key=key, facts=facts)


def _customer(n: int, name: str) -> Customer:
    email = f"ops{n}@company.example"
    return CustomerFactory(company_name=name, email=email, external_reference=f"C-{n}", may_be_bare=False)


def _begin(accounts: Iterable[Account], day: date) -> None:
    for each in accounts:
        Account.objects.filter(pk=each.pk).update(created_at=moment(day, 0))


def _override(admin: SandboxAdmin, fields: dict[str, Any]) -> None:
    """Replace fields of the provider's reports until that is removed."""
    admin.call("POST", f"aha/accounts/{AHASEND_ACCOUNT}/overrides", {"fields": fields})


def _read(connection: Connection, now: datetime) -> None:
    """Read all accounts as a worker does, at that moment."""
    _admin().set_clock(now.isoformat())
    run, _ = runs.start_run(
        connection=connection, kind="asked", slot=uuid4().hex, now=now, until=now + timedelta(hours=6)
    )
    while usage_sync.sync_chunk(run.pk, clock=lambda: now):
        pass
    run.refresh_from_db()
    if run.state != SyncRun.State.COMPLETE:
        raise AssertionError(f"{timezone.now()}: {run.state} {run.message}")
