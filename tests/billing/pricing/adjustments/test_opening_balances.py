"""Opening balances: lines of statements, entered and removed while their month is open."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from billing.models import InvoiceComparison, MonthClosing, OpeningBalance, Statement
from billing.pricing.opening_balances.commands import enter_opening_balance, remove_opening_balance
from billing.pricing.statements.drafts import draft_of, rate_month
from customers.models import Customer
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal
from tests.billing.closing.closed import close, request
from tests.billing.pricing.adjustments.late import DECEMBER
from tests.billing.pricing.pages import client_of, page_of, posted, words_of
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, customer_with
from tests.support.closing import close_by_hand
from tests.support.factories import ConnectionFactory, CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_december(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


def entered(customer: Customer, amount: str = "12.50", **facts: Any) -> OpeningBalance:
    facts = {"month": NOVEMBER, "currency": "EUR", "description": "Owed before"} | facts
    command = Command(UserFactory(role="finance"), NOW)
    return enter_opening_balance(command, customer=customer, amount=Decimal(amount), **facts)


def lines_of(customer: Customer) -> list[tuple[str, str, int]]:
    return [
        (draft.currency, line.kind, line.amount_minor)
        for draft in draft_of(customer, NOVEMBER, now=NOW)
        for line in draft.lines.order_by("n")
    ]


def test_it_is_a_line_of_the_statement() -> None:
    customer, _one = customer_with(discounts=[{"valid_from": "2020-01-01", "percent": "50", "kinds": ["base"]}])
    balance = entered(customer, "-12.50", account_code="1400", tax_code="S0")
    assert lines_of(customer) == [("EUR", "base", 4497), ("EUR", "opening", -1250)]
    (draft,) = draft_of(customer, NOVEMBER, now=NOW)
    line = draft.lines.get(kind="opening")
    assert (draft.total_minor, line.account_code, line.tax_code) == (3247, "1400", "S0")
    assert "Owed before" in words_of(client_of().get(reverse("billing:statement", args=[draft.public_id])))
    remove_opening_balance(Command(UserFactory(role="finance"), NOW), balance=balance)
    assert lines_of(customer) == [("EUR", "base", 4497)]


def test_it_does_not_count_toward_a_commit() -> None:
    customer, _one = customer_with(commit={"amount": "100"})
    entered(customer, "50")
    assert lines_of(customer)[1:] == [("EUR", "commit", 1005), ("EUR", "opening", 5000)]


def test_a_customer_without_a_contract_gets_a_statement() -> None:
    customer = CustomerFactory()
    entered(customer, "1500", currency="JPY")
    rate_month(NOVEMBER, now=NOW)
    assert lines_of(customer) == [("JPY", "opening", 1500)]


@pytest.mark.parametrize(
    ("facts", "says"),
    [({"amount": "0"}, "other than 0"), ({"amount": "1.005"}, "at most 2"), ({"currency": "XXX"}, "Unknown currency"),
     ({"amount": "1.5", "currency": "JPY"}, "at most 0"), ({"connection": 1}, "or select a connection")],
)  # fmt: skip
def test_what_is_refused(facts: dict[str, Any], says: str) -> None:
    if "connection" in facts:
        facts["connection"] = ConnectionFactory()
    with pytest.raises(Refusal) as refused:
        entered(CustomerFactory(), **facts)
    assert says in str(refused.value)


def test_a_closed_month_is_refused() -> None:
    customer, _one = customer_with()
    balance, other = entered(customer), entered(customer)
    request()
    MonthClosing.objects.update(state="failed")
    remove_opening_balance(Command(UserFactory(role="finance"), NOW), balance=other)
    close()
    with pytest.raises(Refusal, match="November 2026 is closed"):
        entered(customer)
    with pytest.raises(Refusal, match="later month"):
        remove_opening_balance(Command(UserFactory(role="finance"), NOW), balance=balance)
    assert entered(customer, month=DECEMBER).month == DECEMBER


def test_a_customer_that_a_failed_run_closed_is_refused() -> None:
    customer, _one = customer_with()
    rate_month(NOVEMBER, now=NOW)
    facts = {"requested_by": UserFactory(role="finance"), "requested_at": NOW, "not_before": NOW}
    run = MonthClosing.objects.create(month=NOVEMBER, n=1, state="failed", **facts)
    entered(customer)
    Statement.objects.filter(side="sell").update(state="closed", closing=run, closed_at=NOW, digest="x")
    with pytest.raises(Refusal, match="November 2026 is closed"):
        entered(customer)


def test_a_run_that_failed_leaves_what_it_did_not_close() -> None:
    """Statements that it closed have the balances of then, and no later ones."""
    customer, _one = customer_with()
    other, _one = customer_with(name="Other")
    balance, of_other = entered(customer), entered(other)
    close_by_hand(NOVEMBER, now=NOW, held_back=[other], fails=True)
    with pytest.raises(Refusal, match="November 2026 is closed"):
        entered(customer)
    with pytest.raises(Refusal, match="later month"):
        remove_opening_balance(Command(UserFactory(role="finance"), NOW), balance=balance)
    remove_opening_balance(Command(UserFactory(role="finance"), NOW), balance=of_other)
    assert entered(other).month == NOVEMBER


def test_one_of_a_compared_connection_is_refused() -> None:
    """A run that failed later has closed the connection's comparison."""
    connection = ConnectionFactory()
    closing = close_by_hand(NOVEMBER, now=NOW, fails=True)
    InvoiceComparison.objects.create(
        connection=connection, month=NOVEMBER, currency="USD", compared_at=NOW, closing=closing
    )
    facts = {"month": NOVEMBER, "currency": "USD", "amount": Decimal(5), "description": "Before"}
    command = Command(UserFactory(role="finance"), NOW)
    with pytest.raises(Refusal, match="November 2026 is closed"):
        enter_opening_balance(command, connection=connection, **facts)


def test_one_is_removed_once() -> None:
    balance = entered(CustomerFactory())
    command = Command(UserFactory(role="finance"), NOW)
    remove_opening_balance(command, balance=balance)
    with pytest.raises(Refusal, match="removed before"):
        remove_opening_balance(command, balance=balance)
    assert AuditEvent.objects.filter(verb="opening_balance.removed").count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        OpeningBalance.objects.update(amount_minor=0)


class TestPages:
    FACTS = {"month": "2026-11", "amount": "-1,250.50", "currency": "eur", "description": "Owed before"}

    def test_one_is_entered_listed_and_removed(self) -> None:
        finance, customer = client_of(), CustomerFactory(external_reference="K-77")
        posted(finance, reverse("billing:opening-balances-add"), customer="k-77", **self.FACTS)
        row = OpeningBalance.objects.get()
        assert (row.customer, row.amount_minor, row.currency, row.month) == (customer, -125_050, "EUR", NOVEMBER)
        text = page_of(finance, "opening-balances")
        assert str(customer) in text
        assert "\u2212\u20ac1,250.50" in text
        finance.post(reverse("billing:opening-balances-remove", args=[row.public_id]))
        assert "No opening balances" in page_of(finance, "opening-balances")
        assert AuditEvent.objects.filter(verb="opening_balance.entered").get().after["amount"] == "-1250.50 EUR"

    def test_one_of_a_connection(self) -> None:
        finance, connection = client_of(), ConnectionFactory(name="Main")
        facts = {"connection": str(connection.public_id), **self.FACTS}
        posted(finance, reverse("billing:opening-balances-add"), **facts)
        assert OpeningBalance.objects.get().connection == connection
        assert "Main" in page_of(finance, "opening-balances")

    @pytest.mark.parametrize(
        ("facts", "says"),
        [({"customer": "Nobody"}, "No customer has this name"), ({"customer": "Twin"}, "Several customers"),
         ({}, "or select a connection"), ({"customer": "Once", "amount": "1,5"}, "such as 1,250.50"),
         ({"customer": "Once", "month": "2026-13"}, "valid choice")],
    )  # fmt: skip
    def test_a_refused_form_keeps_what_was_typed(self, facts: dict[str, str], says: str) -> None:
        for name in ("Twin", "Twin", "Once"):
            CustomerFactory(company_name=name)
        answer = posted(client_of(), reverse("billing:opening-balances-add"), 422, **self.FACTS | facts)
        assert says in words_of(answer)
        assert "Owed before" in answer.content.decode()
        assert not OpeningBalance.objects.exists()

    def test_filters(self) -> None:
        customer, finance = CustomerFactory(company_name="Larkfield"), client_of()
        entered(customer)
        for query, is_listed in (("?q=lark", True), ("?q=other", False), ("?show=connections", False),
                                 ("?show=customers&month=2026-11", True), ("?month=2026-12", False)):  # fmt: skip
            page = finance.get(reverse("billing:opening-balances") + query)
            assert ("Larkfield" in words_of(page)) == is_listed, query
        assert finance.get(reverse("billing:opening-balances") + "?show=none").status_code == 400

    def test_who_may(self) -> None:
        balance = entered(CustomerFactory())
        success, auditor = client_of("customer_success"), client_of("auditor")
        assert success.get(reverse("billing:opening-balances")).status_code == 404
        assert auditor.get(reverse("billing:opening-balances")).status_code == 200
        assert auditor.post(reverse("billing:opening-balances-remove", args=[balance.public_id])).status_code == 403
