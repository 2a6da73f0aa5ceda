"""The page of a comparison, and its file."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Connection
from portal.audit.models import AuditEvent
from tests.billing.closing.invoiced import agreed, invoice, line
from tests.billing.closing.matching.test_comparison import accounts
from tests.billing.pricing.pages import client_of, words_of

pytestmark = pytest.mark.django_db


def page(client: Client, connection: Connection, query: str = "", status: int = 200, month: str = "2026-11") -> str:
    answer = client.get(reverse("billing:invoice-comparison", args=[connection.public_id, month]) + query)
    assert answer.status_code == status
    return words_of(answer)


@pytest.fixture
def finance() -> Client:
    return client_of()


def test_sums_results_and_next_steps(finance: Client) -> None:
    dearer, missing = accounts(2)
    connection = agreed(dearer, missing)
    invoice(connection, line(dearer, 9995), line(text="stranger"))
    words = page(finance, connection)
    assert "Invoice €189.90 1 invoice, without tax" in words
    assert "Cost by our figures €179.90" in words
    assert "Accumulated +€10.00" in words
    assert "Billed to customers €190.00" in words
    assert "Check the price in the cost price list" in words
    assert "Enter the invoice that is missing." in words
    assert "Assign an account to the line. Assign account stranger" in words
    assert "Invoice 2026-11, line 1" in words


def test_what_nobody_is_billed_for_is_found(finance: Client) -> None:
    (one,) = accounts(1)
    connection = agreed(one, billed=False)
    invoice(connection, line(one))
    words = page(finance, connection, "?show=only_provider")
    assert "not billed" in words
    assert "No customer is billed for this account. Add a contract" in words


def test_another_currency_is_said(finance: Client) -> None:
    (one,) = accounts(1)
    connection = agreed(one)
    invoice(connection, line(one), currency="USD")
    words = page(finance, connection, "?currency=USD")
    assert "There's another currency" in words
    assert "There's no cost in this currency." in words
    page(finance, connection, "?currency=SEK", status=400)


def test_filters_and_unknown_values(finance: Client) -> None:
    one, other = accounts(2)
    connection = agreed(one, other)
    invoice(connection, line(one))
    assert other.email not in page(finance, connection, "?show=equal")
    assert one.email not in page(finance, connection, f"?q={other.email}")
    page(finance, connection, "?show=x", status=400)
    page(finance, connection, month="2026-13", status=404)


def test_nothing_to_compare(finance: Client) -> None:
    (one,) = accounts(1)
    assert "Nothing to compare" in page(finance, one.connection, month="2020-01")


def test_those_without_cost_get_no_page() -> None:
    (one,) = accounts(1)
    page(client_of("customer_success"), one.connection, status=404)
    assert "Enter invoice" not in page(client_of("auditor"), one.connection)


def test_the_file_has_the_rows_of_the_page(finance: Client) -> None:
    one, other = accounts(2)
    connection = agreed(one, other)
    invoice(connection, line(one, 9995))
    url = reverse("billing:invoice-comparison-export", args=[connection.public_id, "2026-11"])
    answer: Any = finance.get(url)
    rows = list(csv.DictReader(b"".join(answer).decode("utf-8-sig").splitlines()))
    assert [(row["result"], row["invoice"], row["cost"], row["difference"]) for row in rows] == [
        ("only_ours", "", "89.95", "-89.95"),
        ("different", "99.95", "89.95", "10.00"),
    ]
    assert AuditEvent.objects.filter(verb="invoice.comparison_exported").count() == 1
    assert finance.get(f"{url}?show=x").status_code == 400
    assert client_of("customer_success").get(url).status_code == 404


def test_queries_do_not_grow(finance: Client, django_assert_max_num_queries: Any) -> None:
    found = accounts(30)
    connection = agreed(*found)
    invoice(connection, *map(line, found))
    page(finance, connection)
    with django_assert_max_num_queries(50):
        page(finance, connection)
