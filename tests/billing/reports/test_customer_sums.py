"""One row per customer: the same figures, added up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from billing.usage.period_ends import assess_due
from tests.billing.pooling import Pool
from tests.billing.reports.test_views import (
    NIGHT,
    NOW,
    OCTOBER,
    a_silent_account,
    an_account,
    context,
    every_status,
    listed,
    page,
    read,
)  # fmt: skip
from tests.support.factories import CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
BY = {"group": "customer"}


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


def test_the_accounts_of_a_customer_are_one_row(finance: Client) -> None:
    acme, other = CustomerFactory(company_name="Acme"), CustomerFactory(company_name="Beta")
    read(an_account(customer=acme), 31_000, at=NIGHT, **OCTOBER)
    read(an_account(customer=acme), 150_000, at=NIGHT, **OCTOBER)
    read(an_account(customer=other), 7, at=NIGHT, **OCTOBER)
    assess_due(now=NOW)
    report = context(finance, month="2026-10", **BY)
    rows = [(row.customer.company_name, row.figures, row.used, row.most) for row in report.customers]
    assert rows == [("Acme", 2, 181_000, 500_000), ("Beta", 1, 7, 250_000)]
    assert (report.customers[0].overage, report.customers[0].most_overage) == (50_000, 300_000)
    assert report.totals.used == sum(row.used for row in report.customers)
    assert "181,000 \u2013 500,000" in page(finance, month="2026-10", **BY)


def test_sums_of_missing_figures_are_a_dash(finance: Client) -> None:
    a_silent_account()
    assess_due(now=NOW)
    row = context(finance, **BY).customers[0]
    assert (row.used, row.by_status) == (None, [("missing", 1)])


def test_both_ways_of_adding_up_agree(finance: Client) -> None:
    """From the roll-ups, and from figures selected one by one."""
    every_status()
    whole = {row.customer: row for row in context(finance, month="2026-10", **BY).customers}
    for status in ("final", "interval", "disputed", "missing"):
        for row in context(finance, month="2026-10", status=status, **BY).customers:
            assert row == whole[row.customer]


def test_customers_are_sorted_searched_and_paged(finance: Client) -> None:
    for number, used in enumerate((300, 100, 200)):
        customer = CustomerFactory(company_name=f"Customer {number}", external_reference="" if number else "C-1")
        read(an_account(customer=customer), used)

    def order(**query: str) -> list[int]:
        return [row.used for row in context(finance, **BY, **query).customers]

    assert order() == [300, 200, 100]
    assert order(sort="used") == [100, 200, 300]
    assert order(sort="-name") == [200, 100, 300]
    assert order(q="customer 2") == [200]
    assert order(only="unreferenced") == [200, 100]
    assert order(sort="-package") == [300, 200, 100], "no column of this view"


def test_costs_stand_by_currency_for_who_may_see_them(finance: Client, pool: Pool) -> None:
    customer = CustomerFactory()
    pool.account(700, "3.50", customer=customer)
    pool.account(800, "4.00", customer=customer)
    pool.read()
    row = context(finance, **BY).customers[0]
    assert [(each.currency, each.amount) for each in row.costs] == [("EUR", Decimal("7.50"))]
    assert "\u20ac7.50" in page(finance, **BY)
    other = sign_in(Client(), UserFactory(role="customer_success"))
    assert "\u20ac" not in page(other, **BY)
    assert len(listed(finance, customer=str(customer.public_id))) == 2


def test_a_search_by_account_id_adds_up_what_it_finds(finance: Client) -> None:
    acme = CustomerFactory(company_name="Acme")
    read(an_account(customer=acme, provider_id="own-77"), 5, at=NIGHT, **OCTOBER)
    read(an_account(customer=acme, provider_id="own-88"), 7, at=NIGHT, **OCTOBER)
    report = context(finance, month="2026-10", q="own-77", **BY)
    assert [(row.figures, row.used) for row in report.customers] == [(1, 5)]
    assert (report.totals.figures, report.totals.used) == (1, 5)
