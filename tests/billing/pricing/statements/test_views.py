"""Pages of statements and margin: what they show, to whom, and in how many queries."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import ConnectionBilling, Statement, StatementFinding
from billing.pricing.statements.costs import rate_costs
from billing.pricing.statements.drafts import rate_month
from billing.pricing.statements.queries import finding_groups
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOVEMBER,
    NOW,
    OVERAGE,
    account,
    contract,
    customer_with,
    figure,
    price_list,
)
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _december(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


def read_as(role: str, name: str, *args: Any, query: str = "", **headers: str) -> Any:
    client = Client()
    sign_in(client, UserFactory(role=role))
    return client.get(f"{reverse(f'billing:{name}', args=args)}?month=2026-11{query}", headers=headers)


def rated(*, cost: bool = True) -> Statement:
    """A customer with a rated statement of November, whose connection costs 40.00."""
    customer, one = customer_with(used=130_500)
    if cost:
        prices = price_list({**BASE, "amount": "40.00"}, OVERAGE, name="Provider", side="cost")
        ConnectionBilling.objects.create(connection=one.connection, cost_source="price_list", cost_list=prices)
    rate_month(NOVEMBER, now=NOW)
    rate_costs(NOVEMBER, now=NOW)
    return Statement.objects.get(side="sell", customer=customer)


def test_the_list_shows_totals_and_marks() -> None:
    statement = rated()
    page = read_as("customer_success", "statements").content.decode()
    assert "€115.88" in page
    assert "EUR, exact" in page
    assert str(statement.customer) in page


def test_a_statement_explains_its_lines() -> None:
    page = read_as("customer_success", "statement", rated().public_id).content.decode()
    assert "130,500 emails in" in page
    assert "25.925" in page
    assert "€25.93" in page
    assert "Standard, version from" in page


def test_a_line_of_an_interval_has_both_ends() -> None:
    customer, one = customer_with()
    one.usage_periods.update(status="interval", used=90_000, high=110_000)
    rate_month(NOVEMBER, now=NOW)
    page = read_as("finance", "statement", Statement.objects.get(customer=customer).public_id).content.decode()
    assert "At the other end" in page
    assert "10,000 \u00d7 €0.85 per 1,000 = €8.50" in page


def test_a_statement_follows_its_customers_first_contract() -> None:
    one = account()
    figure(one)
    rate_month(NOVEMBER, now=NOW)
    before = Statement.objects.get(customer=one.customer)
    contract(one.customer, price_list())
    answer = read_as("finance", "statement", before.public_id)
    after = Statement.objects.get(customer=one.customer)
    assert (before.currency, after.currency) == ("", "EUR")
    assert answer.url == reverse("billing:statement", args=[after.public_id])


def test_a_discount_and_a_commit_are_explained() -> None:
    terms = {
        "discounts": [{"percent": "10.00", "kinds": ["base"], "valid_from": "2020-01-01"}],
        "commit": {"amount": "1000.00"},
    }
    customer, _one = customer_with(**terms)
    rate_month(NOVEMBER, now=NOW)
    page = read_as("finance", "statement", Statement.objects.get(customer=customer).public_id).content.decode()
    assert "10%: 8.995 \u2192 €9.00" in page
    assert "Base fees, add-ons, overage" in page


def test_customer_success_gets_no_cost() -> None:
    statement = rated()
    cost = Statement.objects.get(side="cost")
    of_one = {name: [cost.public_id] for name in ("cost", "cost-export")}
    of_all = dict.fromkeys(("costs", "costs-export", "margin", "margin-export"), ())
    of_idle = dict.fromkeys(("idle-accounts", "idle-accounts-export"), ())
    for name, args in (of_one | of_all | of_idle).items():
        assert read_as("customer_success", name, *args).status_code == 404, name
    # A cost statement's ID opens nothing on the routes of the sell side either.
    assert read_as("customer_success", "statement", cost.public_id).status_code == 404
    assert read_as("customer_success", "statement-export", cost.public_id).status_code == 404
    for name, args in (("statements", []), ("statement", [statement.public_id]), ("statement-findings", [])):
        page = read_as("customer_success", name, *args).content.decode()
        assert "40.00" not in page
        assert "Provider costs" not in page
        assert "Margin" not in page


def test_finance_sees_cost_and_margin() -> None:
    rated()
    assert "€65.93" in read_as("finance", "costs").content.decode()
    page = read_as("finance", "margin").content.decode()
    assert "€49.95" in page


@pytest.mark.parametrize("name", ["statements", "costs", "statement-findings", "margin", "idle-accounts"])
def test_an_unknown_filter_lists_nothing(name: str) -> None:
    rated()
    answer = read_as("finance", name, query="&page=x")
    assert answer.status_code == 400
    assert "unknown value" in answer.content.decode()


@pytest.mark.parametrize("name", ["statements", "costs", "statement-findings", "margin", "idle-accounts"])
def test_pages_ask_as_often_for_many_rows(name: str) -> None:
    prices, counts = price_list(), []
    cost = price_list({**BASE, "amount": "40"}, OVERAGE, name="Provider", side="cost")
    client = sign_in(Client(), UserFactory(role="finance"))
    client.get(reverse(f"billing:{name}"))  # the first request of a session asks more
    for number in (1, 7):
        for _ in range(number):
            one = account()
            contract(one.customer, prices)
            figure(one, 0)
            ConnectionBilling.objects.create(connection=one.connection, cost_source="price_list", cost_list=cost)
        rate_month(NOVEMBER, now=NOW)
        rate_costs(NOVEMBER, now=NOW)
        with CaptureQueriesContext(connection) as asked:
            assert client.get(f"{reverse(f'billing:{name}')}?month=2026-11").status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_lists_and_lines_are_exported(file_format: str) -> None:
    statement = rated()
    for name, args in (("statements-export", []), ("statement-export", [statement.public_id]), ("costs-export", [])):
        answer = read_as("finance", name, *args, query=f"&format={file_format}")
        content = b"".join(answer.streaming_content)
        assert answer["Content-Disposition"].endswith(f'.{file_format}"')
        if file_format == "csv" and name == "statement-export":
            assert b"115.88" not in content
            assert b"25.93" in content
        elif file_format == "csv" and name == "statements-export":
            assert b"115.88" in content


def test_an_unknown_format_is_refused() -> None:
    assert read_as("finance", "statement-export", rated().public_id, query="&format=pdf").status_code == 400


def test_a_page_rates_what_changed() -> None:
    statement = rated(cost=False)
    period = statement.customer.accounts.get().usage_periods.get()
    period.used = period.high = 100_000
    period.save(update_fields=["used", "high"])
    assert "€89.95" in read_as("customer_success", "statement", statement.public_id).content.decode()


def test_findings_are_counted_by_kind() -> None:
    one = account()
    figure(one, None)
    two = account(package="postkeeper.ei.pro-300k.v1")
    contract(two.customer, price_list())
    figure(two, 5, start=date(2026, 11, 1))
    rate_month(NOVEMBER, now=NOW)
    page = read_as("customer_success", "statement-findings").content.decode()
    assert "No contract" in page
    assert "postkeeper.ei.pro-300k.v1" in page


def test_findings_of_a_statement_are_shown_by_kind() -> None:
    """Each kind once, the most urgent first, with what to do, at most so many accounts, and constant queries."""
    statement, texts, asked = rated(cost=False), [], []
    customer = statement.customer
    assert customer
    for number in (3, 25):
        for _n in range(number):
            account(customer)
        StatementFinding.objects.filter(statement=statement).delete()
        rows = [
            StatementFinding(statement=statement, account=each, kind=kind, detail={"period": {"start": "2026-11-01"}})
            for kind in ("interval", "no_contract")
            for each in customer.accounts.order_by("pk")
        ]
        StatementFinding.objects.bulk_create(rows)
        with CaptureQueriesContext(connection) as queries:
            groups = finding_groups(statement)
        asked.append(len(queries))
        texts = [(str(each.label.title), each.count, len(each.shown), each.more) for each in groups]
        assert [each.address for each in groups] == [
            reverse("billing:customer-contracts", args=[customer.public_id]), ""
        ]  # fmt: skip
    everyone = customer.accounts.count()
    assert texts == [("No contract", everyone, 20, everyone - 20), ("Interval", everyone, 20, everyone - 20)]
    assert asked == [2, 2]
