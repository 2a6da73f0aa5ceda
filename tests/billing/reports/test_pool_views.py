"""Pages and the file where a provider allocates one invoice: who sees shares, and that they add up in sight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from billing.reports.pool import Pool as PoolOnPage
from billing.usage.snapshots import store_final_readings
from customers.connections import commands as connection_commands
from customers.models import Account, UsageReading
from portal.commands import Command
from tests.billing.exports.support import content_of, csv_rows, export
from tests.billing.pooling import NOON, NOTE, Pool
from tests.billing.reports.test_views import an_account, read
from tests.providers.support import Server
from tests.support.factories import CustomerFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
SEE_COST = ("admin", "finance", "auditor")
OTHER_PARENT = "c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e91"
# A figure that stands nowhere else: 17.23 of something.
CANARY = "17.23"


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOON + timedelta(hours=1), tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


def invoice(client: Client, pool: Pool, **query: str) -> Any:
    return client.get(reverse("billing:pool", args=[pool.connection.public_id]), query)


def page_of(client: Client, pool: Pool, **query: str) -> PoolOnPage:
    found: PoolOnPage = invoice(client, pool, **query).context["pool"]
    return found


def exported(client: Client, **query: str) -> list[dict[str, str]]:
    return csv_rows(content_of(client, export(client, **{"month": "2026-11"} | query)))


def delete(pool: Pool, account: Account, count: int, cost: str, *, at: datetime) -> None:
    """As the executor leaves it: the last usage kept, the account deleted, the report without it from then on."""
    usage = {"used": count, "allocated_cost": cost, "currency": "EUR"}
    period = {"period_start_on": "2026-11-01", "period_end_on": "2026-11-30"}
    operation = OperationFactory(account=account, kind="delete", state="succeeded", created_at=at, finished_at=at)
    UsageReading.objects.create(
        operation=operation, account=account, source="pooled", taken_at=at, usage=usage | period
    )
    Account.objects.filter(pk=account.pk).update(state="deleted")
    pool.report.shares.pop(account.provider_id or "", None)


@pytest.mark.parametrize("role", ["admin", "customer_success", "finance", "auditor"])
@pytest.mark.long
def test_cost_is_nowhere_for_whoever_may_not_see_it(client: Client, pool: Pool, role: str) -> None:
    account = pool.account(1_000, CANARY)
    pool.read()
    sign_in(client, UserFactory(role=role))
    usage = [account.public_id]
    addresses = [
        reverse("billing:usage"),
        reverse("billing:usage") + "?sort=-share",
        reverse("billing:account-usage", args=usage),
        reverse("billing:account-usage-panel", args=usage),
        reverse("billing:pool", args=[pool.connection.public_id]),
        reverse("billing:run", args=[pool.connection.usage_runs.get().public_id]),
        reverse("billing:runs"),
        reverse("home"),
    ]
    shown = {}
    for address in addresses:
        for headers in ({}, {"HX-Request": "true"}):
            response = client.get(address, headers=headers)
            shown[address] = shown.get(address, "") + response.content.decode()
    shown["file"] = content_of(client, export(client, month="2026-11")).decode()
    sees = {address for address, text in shown.items() if CANARY in text}
    if role in SEE_COST:
        assert sees == {*addresses[:3], addresses[4], "file"}
        return
    assert sees == set()
    assert client.get(addresses[4]).status_code == 404
    for text in shown.values():
        assert "llocated share" not in text
        assert "sort=share" not in text
        assert "EUR" not in text
        assert "\u20ac" not in text
        assert escape(NOTE) not in text


@pytest.mark.parametrize(("role", "first"), [("finance", "dear"), ("customer_success", "busy")])
def test_whoever_may_not_see_shares_gets_no_order_by_them(client: Client, pool: Pool, role: str, first: str) -> None:
    found = {"dear": pool.account(1, "9.0"), "busy": pool.account(2, "1.0")}
    pool.read()
    sign_in(client, UserFactory(role=role))
    report = client.get(reverse("billing:usage"), {"sort": "-share"}).context["report"]
    assert report.rows[0].account == found[first].public_id


def test_the_report_has_shares_with_their_note_once(finance: Client, pool: Pool) -> None:
    for _ in range(3):
        pool.account(1_000, "2.5")
    read(an_account(), 41_000)
    pool.read()
    response = finance.get(reverse("billing:usage"))
    text = response.content.decode()
    assert response.context["report"].shares == [("EUR", Decimal("7.50"), 3)]
    assert text.count("Allocated cost<") + text.count("Allocated cost\n") >= 1
    assert text.count(escape(NOTE)) == 1, "once for the table, not once a row"
    assert text.count("\u20ac2.50") == 3
    assert "\u20ac7.50" in text
    assert "price" in text
    kinds = {(row.overage, row.share) for row in response.context["report"].rows}
    assert kinds == {(0, None), (None, Decimal("2.50"))}, "a package has an overage, a share has none"


def test_without_any_share_there_is_no_column(finance: Client) -> None:
    read(an_account(), 41_000)
    text = finance.get(reverse("billing:usage")).content.decode()
    assert "Allocated" not in text


def test_two_currencies_are_never_added_up(finance: Client, pool: Pool) -> None:
    pool.account(1_000, "2.5")
    pool.read()
    with Server() as server:
        facts = {"name": "Other", "kind": "ahasend", "base_url": server.base_url, "usage_source": "pooled"}
        other = connection_commands.add_connection(
            Command(None), api_key=f"aha-sk-{'y' * 64}", facts=facts | {"account_id": OTHER_PARENT}
        )
        dollars = Pool(server, other)
        dollars.report.currency, dollars.report.note = "usd", "Another note."
        dollars.account(10, "4.0")
        dollars.read()
    response = finance.get(reverse("billing:usage"))
    assert response.context["report"].shares == [("EUR", Decimal("2.50"), 1), ("USD", Decimal("4.00"), 1)]
    text = response.content.decode()
    assert "\u20ac2.50" in text
    assert "$4.00" in text
    assert "6.50" not in text
    rows = exported(finance)
    assert sorted((row["Currency"], row["Allocated cost (share of one invoice, not a price)"]) for row in rows) == [
        ("EUR", "2.50"), ("USD", "4.00"),
    ]  # fmt: skip
    narrowed = finance.get(reverse("billing:usage"), {"connection": str(other.public_id)}).content.decode()
    assert escape(NOTE) not in narrowed


def test_the_whole_invoice_adds_up_in_sight(finance: Client, pool: Pool) -> None:
    known = pool.account(250_000, "20.0", customer=CustomerFactory(company_name="Northwind Oy"))
    pool.report.shares["7d1b7c0e-0b8e-4f4b-9a53-2f6f0d8f1b32"] = (50_000, "4.01")
    pool.report.removed = (100_000, "8.0")
    pool.read()
    found = page_of(finance, pool)
    text = invoice(finance, pool).content.decode()
    prose = " ".join(text.split())
    parts = [found.buckets[name] for name in ("parent", "accounts", "unmapped", "removed")]
    assert sum(part.used for part in parts) == found.buckets["total"].used == 500_000
    assert sum(part.cost for part in parts) == found.buckets["total"].cost == Decimal("40.01")
    assert found.off == (0, Decimal(0))
    for shown in ("\u20ac8.00", "\u20ac20.00", "\u20ac4.01", "\u20ac40.01", "500,000", "adds up", "Northwind Oy"):
        assert shown in text
    assert "Name 7d1b" in text, "what the portal does not know is listed under the provider's name for it"
    assert prose.count("not in Postkeeper") == 2, "in the sums, and as a tag in the list"
    assert text.count(escape(NOTE)) == 1
    assert reverse("billing:account-usage", args=[known.public_id]) in text


def test_an_invoice_that_does_not_add_up_says_by_how_much(finance: Client, pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.report.total = (100_012, "19.0")
    pool.read()
    text = invoice(finance, pool).content.decode()
    assert "doesn't add up" in text
    assert "+2" in text
    assert "+\u20ac10.00" in text
    assert "doesn't add up" in finance.get(reverse("billing:usage")).content.decode()


def test_a_deleted_account_keeps_its_usage_on_the_invoice(finance: Client, pool: Pool) -> None:
    gone = pool.account(400, "0.40", customer=CustomerFactory(company_name="Old Mill Theatre"))
    pool.account(600, "0.60")
    pool.read()
    delete(pool, gone, 450, "0.45", at=pool.now + timedelta(minutes=10))
    pool.report.removed = (475, "0.44")
    pool.later(minutes=30)
    store_final_readings()
    assert not page_of(finance, pool).removed.rows, "the last report was read before the delete and still names it"
    pool.read()

    report = finance.get(reverse("billing:usage")).context["report"]
    row = next(row for row in report.rows if row.account == gone.public_id)
    assert (row.used, row.share, row.status) == (450, Decimal("0.45"), "final")
    found = page_of(finance, pool).removed
    assert [period.account.customer.company_name for period, _ in found.rows] == ["Old Mill Theatre"]
    assert found.ours == (450, Decimal("0.45"))
    assert found.theirs == (475, Decimal("0.44"))
    assert found.difference == (25, Decimal("-0.01"))
    text = invoice(finance, pool).content.decode()
    assert "+25" in text
    assert "\u2212\u20ac0.01" in text


def test_the_months_of_an_invoice_stand_apart(finance: Client, pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.now = datetime(2026, 10, 31, 23, 45, tzinfo=UTC)
    pool.report.start, pool.report.end = "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"
    pool.read()
    pool.now = NOON
    pool.report.start, pool.report.end = "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"
    pool.report.parent = (5, "0.1")
    pool.read()
    assert page_of(finance, pool, month="2026-10").buckets["parent"].used == 100_000
    assert page_of(finance, pool, month="2026-10").status == "interval", "the end was not read"
    assert page_of(finance, pool).buckets["parent"].used == 5
    assert page_of(finance, pool).status == "open"
    assert "bl-s-open" in invoice(finance, pool).content.decode()
    nothing = invoice(finance, pool, month="2026-09")
    assert nothing.context["pool"] is None
    assert "No report" in nothing.content.decode()


def test_the_account_page_has_its_share_of_every_period(finance: Client, pool: Pool) -> None:
    account = pool.account(700, "3.3333", settings={"monthly_cap": 5_000})
    pool.read()
    text = finance.get(reverse("billing:account-usage", args=[account.public_id])).content.decode()
    assert "\u20ac3.3333" in text, "more than cents only where the provider said more"
    assert text.count(escape(NOTE)) == 1
    assert "Monthly cap" in text
    free = pool.account(700)
    pool.read()
    panel = finance.get(reverse("billing:account-usage-panel", args=[free.public_id])).content.decode()
    assert "</b> emails, no cap" in panel


def test_the_file_has_use_and_share_and_runs_no_formula(finance: Client, pool: Pool) -> None:
    pool.report.note = '=HYPERLINK("http://x")'
    account = pool.account(700, "3.50", settings={"monthly_cap": 5_000})
    pool.account(800, "4.00")
    pool.read()
    rows = exported(finance)
    line = next(row for row in rows if row["Account ID"] == account.provider_id)
    assert (line["Emails (least)"], line["Account cap in the pool (emails)"]) == ("700", "5000")
    assert (line["Overage (least)"], line["Source"]) == ("", "pooled usage report")
    assert (line["Allocated cost (share of one invoice, not a price)"], line["Currency"]) == ("3.50", "EUR")
    notes = [row["Provider note on allocated cost"] for row in rows]
    assert sorted(map(bool, notes)) == [False, True]
    assert all(note.startswith("'=") for note in notes if note)


def test_amounts_are_written_alike_on_pages_and_in_the_file(finance: Client, pool: Pool) -> None:
    costs = {"66.66666666666667": "66.666667", "0.1": "0.10", "20.00": "20.00", "1000000.5": "1000000.50"}
    accounts = {pool.account(10, reported): written for reported, written in costs.items()}
    pool.report.parent = (5, "0.2000")
    pool.read()
    rows = {row["Account ID"]: row for row in exported(finance)}
    cost = "Allocated cost (share of one invoice, not a price)"
    assert {account: rows[account.provider_id or ""][cost] for account in accounts} == accounts
    page = finance.get(reverse("billing:usage")).content.decode()
    report = invoice(finance, pool).content.decode()
    for text in ("\u20ac66.666667", "\u20ac0.10", "\u20ac20.00", "\u20ac1,000,000.50"):
        assert text in page
        assert text in report
    assert "\u20ac1,000,087.266667" in page, "the sum of the shares"
    assert "\u20ac1,000,087.466667" in report, "the total, of which more places were reported"
    assert "\u20ac0.20<" in report


@pytest.mark.long
def test_pages_cost_the_same_for_few_and_for_many(
    finance: Client, pool: Pool, django_assert_max_num_queries: Any
) -> None:
    addresses = [
        reverse("billing:usage") + "?size=200",
        reverse("billing:pool", args=[pool.connection.public_id]),
    ]

    def add(count: int) -> None:
        for _ in range(count):
            pool.account(10)
        for _ in range(count // 2):
            delete(pool, pool.account(), 5, "0.05", at=pool.now)
        pool.report.shares |= {f"{n:08d}-0000-4000-8000-000000000000": (1, "0.1") for n in range(count)}
        store_final_readings()
        pool.later(minutes=5)
        pool.read()

    def cost(address: str) -> int:
        with django_assert_max_num_queries(40) as counted:
            assert finance.get(address).status_code == 200
        return len(counted.captured_queries)

    add(3)
    for address in addresses:
        cost(address)  # caches of content types and the like fill once
    few = [cost(address) for address in addresses]
    add(40)
    assert [cost(address) for address in addresses] == few


def test_a_month_that_is_not_known_shows_no_invoice(finance: Client, pool: Pool) -> None:
    pool.account(10, "1.0")
    pool.read()
    assert invoice(finance, pool).context["pool"] is not None
    answer = invoice(finance, pool, month="2026-99")
    assert answer.context["pool"] is None
    assert "Month: unknown value “2026-99”." in answer.content.decode()
