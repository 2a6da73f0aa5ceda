"""Pages of provider invoices."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from billing.closing.invoices import commands
from billing.models import ProviderInvoice
from tests.billing.closing.invoiced import by, invoice, line
from tests.billing.pricing.pages import client_of, page_of, posted, saved, words_of
from tests.support.factories import AccountFactory, ConnectionFactory

pytestmark = pytest.mark.django_db
CSV = (
    "number,date,currency,kind,account,service start,service end,amount\n"
    "A1,2026-12-01,USD,base,{account},2026-11-01,2026-11-30,89.95\n"
)


@pytest.fixture
def finance() -> Client:
    return client_of()


def url(route: str, found: ProviderInvoice, *args: Any) -> str:
    return reverse(f"billing:{route}", args=[found.public_id, *args])


class TestList:
    def test_sums_are_by_currency_without_withdrawn(self, finance: Client) -> None:
        connection = ConnectionFactory()
        invoice(connection, line(), number="one")
        invoice(connection, line(minor=100), number="two", currency="USD")
        wrong = invoice(connection, line(minor=77700), number="three")
        commands.withdraw_invoice(by(), invoice=wrong, reason="Wrong")
        words = page_of(finance, "provider-invoices")
        assert "EUR, as invoiced €89.95 1 invoice" in words
        assert "USD, as invoiced $1.00 1 invoice" in words
        assert "three" in words

    def test_filters(self, finance: Client) -> None:
        connection = ConnectionFactory(name="Elsewhere")
        invoice(connection, number="one")
        invoice(ConnectionFactory(), number="two")
        for query in (f"?connection={connection.public_id}", "?q=one&month=2026-12", "?state=entered&q=one"):
            words = page_of(finance, "provider-invoices", query=query)
            assert "EUR, as invoiced €0.00 1 invoice" in words
            assert "Elsewhere" in words
        assert "No results" in page_of(finance, "provider-invoices", query="?month=2026-11")
        assert "No results" in page_of(finance, "provider-invoices", query="?state=withdrawn")
        page_of(finance, "provider-invoices", query="?state=paid", status=400)
        page_of(finance, "provider-invoices", query="?connection=00000000-0000-0000-0000-000000000000", status=400)

    def test_nothing_entered_yet(self, finance: Client) -> None:
        assert "No provider invoices" in page_of(finance, "provider-invoices")


@pytest.mark.parametrize("route", ["provider-invoice", "provider-invoices"])
def test_cost_is_for_those_who_see_cost(route: str) -> None:
    found = invoice(ConnectionFactory())
    args = [found.public_id] if route == "provider-invoice" else []
    page_of(client_of("customer_success"), route, *args, status=404)
    words = page_of(client_of("auditor"), route, *args)
    assert "Enter invoice" not in words
    assert "Add line" not in words


def test_an_invoice_is_entered_by_form(finance: Client) -> None:
    account = AccountFactory()
    facts = {"number": "A1", "issued_on": "2026-12-01", "currency": "eur", "total": "1,089.95"}
    answer = posted(finance, reverse("billing:provider-invoice-add"), connection=account.connection.public_id, **facts)
    found = ProviderInvoice.objects.get()
    assert answer["Location"] == url("provider-invoice", found)
    days = {"start_on": "2026-11-01", "end_on": "2026-11-30"}
    posted(finance, url("invoice-line-add", found), kind="base", account_text=account.email, amount="89.95", **days)
    words = page_of(finance, "provider-invoice", found.public_id)
    assert "Lines add up to €89.95, the invoice says €1,089.95. The difference of +€1,000.00" in words
    assert account.email in words
    again = posted(
        finance, reverse("billing:provider-invoice-add"), 422, connection=account.connection.public_id, **facts
    )
    assert "already entered" in words_of(again)


def test_a_line_is_edited_and_removed(finance: Client) -> None:
    found = invoice(ConnectionFactory(), line(), line())
    saved(finance, url("invoice-line-edit", found, 1), amount="1.00")
    assert found.lines.get(n=1).amount_minor == 100
    assert "2 decimal places" in words_of(saved(finance, url("invoice-line-edit", found, 1), 422, amount="1.001"))
    posted(finance, url("invoice-line-remove", found, 2), edits=1)
    assert found.lines.count() == 1


def test_the_header_is_edited(finance: Client) -> None:
    found = invoice(ConnectionFactory(), line())
    saved(finance, url("provider-invoice-edit", found), number="B7", total="90")
    found.refresh_from_db()
    assert (found.number, found.total_minor) == ("B7", 9000)


def test_an_account_is_assigned_by_a_click(finance: Client) -> None:
    account = AccountFactory(customer__company_name="Northwind")
    AccountFactory(customer__company_name="Northwind")
    found = invoice(account.connection, line(text="northwind mail"))
    page = words_of(finance.get(url("invoice-line-account", found, 1)))
    assert "No matching accounts" in page
    page = words_of(finance.get(url("invoice-line-account", found, 1) + "?q=northwind"))
    assert page.count("Assign ") >= 1
    assert account.email in page
    posted(finance, url("invoice-line-account", found, 1), account=account.public_id)
    assert found.lines.get().account == account


def test_an_invoice_is_withdrawn_with_a_reason(finance: Client) -> None:
    found = invoice(ConnectionFactory(), line())
    assert "Enter why" in words_of(posted(finance, url("provider-invoice-withdraw", found), 422, reason=""))
    posted(finance, url("provider-invoice-withdraw", found), reason="Sent twice")
    words = page_of(finance, "provider-invoice", found.public_id)
    assert "This invoice was withdrawn Sent twice" in words
    assert "Add line" not in words


class TestImport:
    def send(self, client: Client, text: str, status: int = 303, **facts: Any) -> str:
        values = {"decimal": ".", "total": "", "file": SimpleUploadedFile("a.csv", text.encode())} | facts
        return words_of(posted(client, reverse("billing:provider-invoice-import"), status, **values))

    def test_a_file_is_imported(self, finance: Client) -> None:
        account = AccountFactory()
        self.send(finance, CSV.format(account=account.email), connection=account.connection.public_id)
        found = ProviderInvoice.objects.get()
        assert (found.number, found.currency, found.total_minor, found.filename) == ("A1", "USD", 8995, "a.csv")
        assert found.lines.get().account == account
        assert ProviderInvoice.objects.count() == 1

    def test_the_total_can_be_said(self, finance: Client) -> None:
        connection = ConnectionFactory().public_id
        self.send(finance, CSV.format(account=""), connection=connection, total="100")
        assert ProviderInvoice.objects.get().total_minor == 10000

    def test_errors_store_nothing(self, finance: Client) -> None:
        connection = ConnectionFactory().public_id
        words = self.send(finance, CSV.format(account="").replace("base", "fee"), 422, connection=connection)
        assert "Nothing was imported" in words
        assert "2 kind “fee” is no kind of line." in words
        assert not ProviderInvoice.objects.exists()

    def test_a_number_that_exists_is_refused(self, finance: Client) -> None:
        connection = ConnectionFactory()
        invoice(connection, number="A1")
        words = self.send(finance, CSV.format(account=""), 422, connection=connection.public_id)
        assert "already entered" in words

    def test_another_kind_of_file_is_refused(self, finance: Client) -> None:
        file = SimpleUploadedFile("a.pdf", b"x")
        words = self.send(finance, "", 422, connection=ConnectionFactory().public_id, file=file)
        assert "ends with .csv" in words


def test_lines_are_filtered(finance: Client) -> None:
    account = AccountFactory()
    found = invoice(account.connection, line(account), line(text="stranger"), line())
    for query, shown in (("matched", account.email), ("unmatched", "stranger")):
        words = page_of(finance, "provider-invoice", found.public_id, query=f"?account={query}")
        assert shown in words
    assert "stranger" not in page_of(finance, "provider-invoice", found.public_id, query="?account=none")
    assert "stranger" in page_of(finance, "provider-invoice", found.public_id, query="?q=strang")
    page_of(finance, "provider-invoice", found.public_id, query="?kind=x", status=400)


def test_queries_do_not_grow(finance: Client, django_assert_max_num_queries: Any) -> None:
    account = AccountFactory()
    found = invoice(account.connection, *[line(account)] * 40)
    with django_assert_max_num_queries(20):
        page_of(finance, "provider-invoice", found.public_id)
    for n in range(20):
        invoice(ConnectionFactory(), number=f"{n}")
    with django_assert_max_num_queries(20):
        page_of(finance, "provider-invoices")
