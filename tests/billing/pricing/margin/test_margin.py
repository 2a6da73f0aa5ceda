"""Margins: what is added, what is converted, and what is missing."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from billing.models import ConnectionBilling, ExchangeRate, Statement, StatementFinding
from billing.pricing.margin.idle_accounts import all_idle
from billing.pricing.margin.queries import CustomerMargins, grouped_rows
from billing.pricing.margin.views import month_margin
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import rate_month
from customers.models import Account, Customer
from tests.billing.pricing.statements.agreed import (
    BASE,
    LAST,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    customer_with,
    figure,
    price_list,
    state,
)

pytestmark = pytest.mark.django_db


def costing(one: Account, amount: str = "40.00", currency: str = "EUR") -> None:
    prices = price_list({**BASE, "amount": amount}, OVERAGE, name="Provider", side="cost", currency=currency)
    ConnectionBilling.objects.create(connection=one.connection, cost_source="price_list", cost_list=prices)


def rate() -> None:
    rate_month(NOVEMBER, now=NOW)
    rate_costs(NOVEMBER, now=NOW)


def rate_of(amount: str, on: date = LAST, source: str = "USD", target: str = "EUR") -> None:
    ExchangeRate.objects.create(
        from_currency=source, to_currency=target, rate=Decimal(amount), on=on, source="ECB", at=NOW
    )


def row_of(customer: Customer) -> Any:
    return CustomerMargins(NOVEMBER, [customer.pk]).row(customer.pk, "")


class TestCustomers:
    def test_one_currency(self) -> None:
        customer, one = customer_with()
        costing(one)
        rate()
        row = row_of(customer)
        assert (row.margin_minor, row.currency, row.missing, row.percent) == (4995, "EUR", [], 56)

    def test_the_total_is_converted_once_half_up(self) -> None:
        customer, one = customer_with()
        other = account(customer, connection=one.connection)
        figure(other, 0)
        costing(one, "10.01", "USD")
        rate_of("0.925")
        rate()
        # 20.02 USD are 18.5185 EUR: 18.52. Each account converted alone would be 9.26 twice, 18.52; of three, 27.77.
        assert row_of(customer).margin_minor == 2 * 8995 - 1852

    def test_the_rate_is_that_of_the_last_day(self) -> None:
        customer, one = customer_with()
        costing(one, "10", "USD")
        rate_of("0.5", on=date(2026, 11, 29))
        rate()
        assert row_of(customer).missing == ["no_rate"]
        rate_of("0.9")
        rate_of("0.8")
        assert row_of(customer).margin_minor == 8995 - 800

    def test_a_rate_serves_both_directions(self) -> None:
        customer, one = customer_with()
        costing(one, "10", "USD")
        rate_of("1.25", source="EUR", target="USD")
        rate()
        assert row_of(customer).margin_minor == 8995 - 800

    @pytest.mark.parametrize("change", [{"status": "missing", "used": None}, {"status": "open"}])
    def test_an_inexact_figure_leaves_a_dash(self, change: dict[str, Any]) -> None:
        customer, one = customer_with()
        costing(one)
        facts = change | ({"current": None, "high": None} if change["status"] == "missing" else {})
        one.usage_periods.update(**facts)
        rate()
        row = row_of(customer)
        assert row.margin_minor is None
        assert row.missing == ["revenue", "cost"]

    def test_a_connection_without_a_source_leaves_a_dash(self) -> None:
        customer, _one = customer_with()
        rate()
        assert (row_of(customer).margin_minor, row_of(customer).missing) == (None, ["cost"])

    def test_revenue_in_two_currencies_leaves_a_dash(self) -> None:
        customer, one = customer_with()
        other = account(customer, connection=one.connection)
        figure(other, 0, start=date(2026, 10, 20), end=date(2026, 11, 19))
        contract(customer, price_list(BASE, OVERAGE, name="Dollars", currency="USD"), since=date(2026, 11, 1))
        costing(one)
        rate()
        assert row_of(customer).missing == ["currencies"]

    def test_cost_without_revenue_leaves_a_dash(self) -> None:
        one = account(is_test=True)
        contract(one.customer, price_list(), until=date(2025, 1, 1))
        figure(one, 0)
        costing(one)
        rate()
        assert row_of(one.customer).missing == ["no_revenue"]


class TestMonths:
    def test_all_customers_together(self) -> None:
        for amount in ("40", "30"):
            _customer, one = customer_with_list(amount)
            assert one
        rate()
        found = month_margin(NOVEMBER)
        assert (found.customers, found.known, found.is_complete) == (2, 2, True)
        assert found.margins == {"EUR": 2 * 8995 - 7000}

    def test_one_gap_leaves_the_month_incomplete(self) -> None:
        customer_with_list("40")
        one = account()
        figure(one, 1)
        rate()
        found = month_margin(NOVEMBER)
        assert (found.customers, found.known, found.is_complete) == (2, 1, False)
        assert found.margins == {"EUR": 4995}

    def test_a_new_rate_changes_what_is_remembered(self) -> None:
        _customer, one = customer_with()
        costing(one, "10", "USD")
        rate()
        assert month_margin(NOVEMBER).known == 0
        rate_of("0.9")
        assert month_margin(NOVEMBER).known == 1


def customer_with_list(amount: str) -> tuple[Customer, Account]:
    one = account()
    contract(one.customer, price_list(name=f"Sell {amount}"))
    figure(one, 0)
    prices = price_list({**BASE, "amount": amount}, OVERAGE, name=f"Cost {amount}", side="cost")
    ConnectionBilling.objects.create(connection=one.connection, cost_source="price_list", cost_list=prices)
    return one.customer, one


class TestGroups:
    @pytest.mark.parametrize("by", ["package", "connection"])
    def test_one_currency_has_a_margin(self, by: str) -> None:
        _customer, one = customer_with()
        costing(one)
        rate()
        (row,) = grouped_rows(NOVEMBER, by)
        assert (row.margin_minor, row.missing) == (4995, [])

    @pytest.mark.parametrize("by", ["package", "connection"])
    def test_parts_are_never_converted(self, by: str) -> None:
        _customer, one = customer_with()
        costing(one, "10", "USD")
        rate_of("0.9")
        rate()
        (row,) = grouped_rows(NOVEMBER, by)
        assert (row.margin_minor, row.missing) == (None, ["currencies"])

    def test_a_package_with_a_cost_unknown_elsewhere_has_none(self) -> None:
        customer, one = customer_with()
        costing(one)
        elsewhere = account(customer)
        figure(elsewhere, 0)
        rate()
        (row,) = grouped_rows(NOVEMBER, "package")
        assert one.connection_id != elsewhere.connection_id
        assert (row.margin_minor, row.missing) == (None, ["cost"])

    def test_a_package_changed_since_has_the_finding_of_its_line(self) -> None:
        _customer, one = customer_with({**BASE}, OVERAGE)
        costing(one)
        figure_of = one.usage_periods.get()
        type(figure_of).objects.filter(pk=figure_of.pk).update(status="open")
        Account.objects.filter(pk=one.pk).update(package="another")
        rate()
        (row,) = grouped_rows(NOVEMBER, "package")
        assert row.margin_minor is None

    @pytest.mark.parametrize("by", ["package", "connection"])
    def test_a_finding_about_the_whole_cost_leaves_a_dash(self, by: str) -> None:
        customer, one = customer_with()
        costing(one)
        rate()
        cost = Statement.objects.get(side="cost")
        StatementFinding.objects.create(statement=cost, kind="report_differs")
        (row,) = grouped_rows(NOVEMBER, by)
        assert (row.margin_minor, row.missing) == (None, ["cost"])
        assert row_of(customer).missing == ["cost"]


class TestIdleAccounts:
    def test_suspended_and_silent_ones_with_their_days(self) -> None:
        _customer, one = customer_with()
        costing(one)
        halted = account(connection=one.connection)
        figure(halted, 12)
        state(halted, date(2026, 11, 21), "stopped_by_us")
        silent = account(connection=one.connection)
        figure(silent, 0)
        unknown = account(connection=one.connection)
        figure(unknown, None)
        rate()
        found = {each.account.pk: each for each in all_idle(NOVEMBER, reason="", q="")}
        assert found.keys() == {halted.pk, silent.pk}
        assert (found[halted.pk].reason, found[halted.pk].days, found[halted.pk].of_days) == ("suspended", 10, 30)
        assert (found[silent.pk].reason, found[silent.pk].days) == ("silent", 30)
        assert [each.minor for each in found[silent.pk].cost] == [4000]
