"""Cost and secrets reach nobody without the permission: a portal in which they stand everywhere they can be stored,
and every page, fragment, refused form and file of it, as each principal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone

from billing.models import Anomaly, UsageExport, UsagePeriod, UsageSnapshot
from billing.pricing.connections.commands import edit_connection_billing
from billing.pricing.lists import commands as list_commands
from billing.reports import exports
from billing.reports.filters import UsageFilters
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Account, Connection, UsageReading
from portal import audit
from portal.access.models import User
from portal.access.permissions import Permission, choosable, with_included
from portal.commands import Command
from portal.providers import Usage, UsageSource
from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.customers.keys import SECRET
from tests.house.hostile import FORM, World, _routes, priced_draft
from tests.house.principals import of_role, with_permissions
from tests.support.factories import OperationFactory

# Amounts that stand nowhere else, as every format of money and of a file writes them.
COST, LESS = Decimal("731.37"), Decimal("731.17")
# Lists whose month is the last one unless the address says another.
OF_A_MONTH = ("costs", "costs-export", "margin", "margin-export")
NO_AMOUNT = ("statements", "statements-export", "statement-findings", "idle-accounts", "idle-accounts-export")
CANARIES = ("731.37", "731,37", "731.17", "731,17")


def without_cost() -> Client:
    """Return a client whose custom role has everything that does not include cost."""
    cost = Permission.VIEW_COST
    return with_permissions(each for each in choosable() if cost not in with_included([each]))


# Who may see cost, and who may not.
READERS: dict[str, tuple[Any, bool]] = {
    "admin": (lambda: of_role("admin"), True),
    "finance": (lambda: of_role("finance"), True),
    "auditor": (lambda: of_role("auditor"), True),
    "customer_success": (lambda: of_role("customer_success"), False),
    "all but cost": (without_cost, False),
}


@dataclass
class Planted:
    world: World
    account: Account
    secrets: list[str]


@pytest.fixture
def planted(desk: Desk) -> Planted:  # noqa: F811 - the fixture
    world = World(desk)
    now = timezone.now()
    (anomaly,) = Anomaly.objects.all()
    account = anomaly.account
    assert account is not None
    start, end = anomaly.period.start_on, anomaly.period.end_on  # type: ignore[union-attr]  # it has one
    for hours, cost in ((2, COST), (3, LESS)):
        usage = Usage(
            source=UsageSource.POOLED, used=300, allowed=1000, allocated_cost=cost, currency="NOK",
            raw={"allocated_cost": str(cost)}, period_start_on=start, period_end_on=end,
        )  # fmt: skip
        store_readings([AccountReading(account.pk, usage, now + timedelta(hours=hours))], run=None)
    UsagePeriod.objects.update(allocated_cost=COST, currency="NOK")
    fallen = {
        "kind": Anomaly.Kind.COST_FELL,
        "before": str(COST),
        "after": str(LESS),
        "effect_cost": COST,
        "cause": "planted",
    }
    Anomaly.objects.filter(pk=anomaly.pk).update(**fallen)
    other = Account.objects.exclude(pk=account.pk).order_by("pk")[0]  # of the same cause, so both are listed
    store_readings([AccountReading(other.pk, usage, now)], run=None)
    report = UsageSnapshot.objects.filter(account=other).latest("pk")
    Anomaly.objects.create(
        connection=account.connection, account=other, period=anomaly.period, effect=1, opened_at=now, snapshot=report,
        **fallen,
    )  # fmt: skip
    told = {"anomaly": "Allocated cost decreased", "before": str(COST), "reported": str(LESS)}
    for about in (account, account.connection):
        audit.record(actor=world.people["finance"], verb="usage.decided", obj=about, before=told, after={"x": 1})
    usage_before = {"used": 1, "allocated_cost": str(COST), "currency": "NOK"}
    UsageReading.objects.create(
        operation=OperationFactory(kind="delete", account=account, state="succeeded", finished_at=now),
        account=account, source="pooled", taken_at=now, usage=usage_before,
    )  # fmt: skip
    command = Command(world.people["finance"], now)
    facts = {"name": f"Cost {COST}", "side": "cost", "provider_kind": "sendgrid", "currency": "NOK"}
    of_cost = list_commands.create_price_list(command, **facts)
    draft = priced_draft(command, of_cost, amount=str(COST))
    world.rows["prices/lists/"].append(of_cost)
    world.rows["prices/versions/"].extend([draft, of_cost.versions.get(n=1)])
    bought = {"cost_source": "price_list", "cost_list": of_cost}
    edit_connection_billing(command, connection=account.connection, facts=bought)
    for with_cost in (True, False):
        filters = UsageFilters({"month": f"{start:%Y-%m}"}, today=now.date(), with_cost=with_cost)
        export = exports.request_export(Command(world.people["finance"], now), filters=filters, file_format="csv")
        exports.prepare_export(export.pk, now=now)
        world.rows["usage/exports/"].append(UsageExport.objects.get(pk=export.pk))
    keys = [row.open("api_key_sealed") for row in Connection.objects.all()]
    hashes = [user.password for user in User.objects.all() if user.has_usable_password()]
    sessions = [cookies["sessionid"].value for cookies in world.cookies.values() if "sessionid" in cookies]
    return Planted(world, account, [SECRET, *filter(None, keys), *hashes, *sessions])


def answers(planted: Planted, cookies: SimpleCookie) -> Iterator[tuple[str, str]]:
    """Yield every page, fragment and file, and what an empty form answers, each with its name."""
    world = planted.world
    for name, pattern, converters in _routes(get_resolver()):
        for url in world._urls(name, pattern, converters):
            asked = [("GET", {}), ("GET", {"HX-Request": "true"})]
            if name != "customers:key-secret":  # it reveals the secret, to who requested it
                asked.append(("POST", {}))
            for method, headers in asked:
                yield f"{name} {method} {headers}", _ask(cookies, method, url, headers)
    for url in (f"{reverse('customers:list')}?q=731.3", f"{reverse('billing:usage')}?sort=-share"):
        yield url, _ask(cookies, "GET", url, {})
    month = f"{world.rows['statements/costs/'][0].month:%Y-%m}"
    for name in (*OF_A_MONTH, *NO_AMOUNT):
        yield f"billing:{name} of the month", _ask(cookies, "GET", f"{reverse(f'billing:{name}')}?month={month}", {})


def _ask(cookies: SimpleCookie, method: str, url: str, headers: dict[str, str]) -> str:
    client = Client(raise_request_exception=False)
    client.cookies = SimpleCookie({name: each.value for name, each in cookies.items()})
    with transaction.atomic():
        answer = client.generic(method, url, content_type=FORM, headers=headers)
        page = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
        transaction.set_rollback(True)
    return page.decode("utf-8", "replace") + repr(answer.headers)


@pytest.mark.long
@pytest.mark.sample(2)
@pytest.mark.parametrize("reader", READERS)
def test_cost_and_secrets_are_nowhere(planted: Planted, reader: str) -> None:
    make, sees_cost = READERS[reader]
    cookies = make().cookies
    shown, leaked = set(), set()
    for name, text in answers(planted, cookies):
        if any(each in text for each in CANARIES):
            shown.add(name.split()[0])
        leaked |= {(name, secret[:12]) for secret in planted.secrets if secret in text}
    assert leaked == set()
    if not sees_cost:
        assert shown == set()
        return
    # Else nothing would be found because nothing is planted.
    pages = {"billing:usage", "billing:account-usage", "billing:figure", "billing:usage-export-file"}
    pages |= {"billing:price-lists", "billing:price-list", "billing:price-version", "billing:price-export"}
    pages |= {"billing:connection-billings", "billing:connection-billing"}
    pages |= {"billing:provider-invoices", "billing:provider-invoice", "billing:invoice-comparison"}
    pages |= {f"billing:{name}" for name in (*OF_A_MONTH, "cost", "cost-export")}
    assert pages <= shown
    assert "billing:decide-anomaly" in shown
    assert ({"audit:list", "audit:export"} <= shown) == (reader != "finance")
