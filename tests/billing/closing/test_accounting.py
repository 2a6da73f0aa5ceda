"""The accounting file of a month: its rows, what is held back, and who gets it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import BillingTerms, Statement
from billing.pricing.statements.drafts import rate_month
from billing.usage.periods import DAY
from customers.models import Customer
from portal.audit.models import AuditEvent
from tests.billing.closing.accounting_reader import rows_of, totals_of
from tests.billing.closing.closed import close, unblock
from tests.billing.pricing.pages import client_of, page_of
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
    offerings,
    price_list,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _december(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


def closed_month() -> None:
    """Three customers: overage, a share of a month with a discount, yen with a minimum commit."""
    customer, _one = customer_with(
        {**BASE, "account_code": "8400", "tax_code": "V19"}, OVERAGE, used=130_500, accounting_reference="D-10077"
    )
    customer.company_name = "=Umlaut GmbH; ä"
    customer.save(update_fields=["company_name"])
    other = account()
    figure(other, 0)
    offerings(other, date(2026, 11, 20), ("postkeeper.ei.pro-300k.v1", 1))
    small = {"offering": "postkeeper.ei.pro-300k.v1", "component": "base", "amount": "199.90"}
    ten = {"percent": "10.00", "kinds": ["base"], "valid_from": "2020-01-01"}
    contract(other.customer, price_list(BASE, small, OVERAGE, name="Two"), discounts=[ten])
    yen = account()
    figure(yen, 0)
    prices = price_list({**BASE, "amount": "9000"}, name="Yen", currency="JPY")
    contract(yen.customer, prices, commit={"amount": "10000"})
    rate_month(NOVEMBER, now=NOW)


def exported(query: str = "", role: str = "finance", status: int = 200) -> Any:
    url = reverse("billing:month-accounting-export", args=["2026-11"])
    answer = client_of(role).get(url + query)
    assert answer.status_code == status
    return answer


def content(answer: Any) -> bytes:
    return b"".join(answer)


def test_the_file_adds_up_to_the_statements() -> None:
    closed_month()
    close()
    rows = rows_of(content(exported()))
    stored = {
        (f"{each.number:06}", each.currency): Decimal(each.total_minor).scaleb(-2 if each.currency == "EUR" else 0)
        for each in Statement.objects.filter(state="closed")
    }
    assert totals_of(rows) == stored
    assert len(stored) == 3
    assert len(rows) == sum(each.lines_count for each in Statement.objects.all())


def test_a_row_has_all_that_a_booking_needs() -> None:
    closed_month()
    close()
    BillingTerms.objects.create(pk=1, number_prefix="RE-", default_account_code="8000")
    base, overage = rows_of(content(exported()))[:2]
    assert base | {"account": ""} == {
        "statement number": "RE-000001", "customer reference": "D-10077", "customer": "'=Umlaut GmbH; ä",
        "period start": "2026-11-01", "period end": "2026-11-30", "account code": "8400",
        "description": "Base fee, Pro 100K", "quantity": "1", "unit": "billing period", "unit price": "89.9500",
        "net amount": "89.95", "currency": "EUR", "tax code": "V19", "basis": "1 x 89.95", "kind": "base",
        "account": "", "line id": "RE-000001-1",
    }  # fmt: skip
    assert (overage["account code"], overage["net amount"], overage["quantity"]) == ("8000", "25.93", "30.5")


@pytest.mark.parametrize(
    ("contracts", "expected"),
    [
        ([{"accounting_reference": "OLD"}], "OLD"),
        ([{"accounting_reference": ""}], "CRM-1"),
        ([{"accounting_reference": "OLD", "until": date(2026, 11, 29)}], "CRM-1"),
        ([{"accounting_reference": "OLD", "until": LAST}], "OLD"),
        ([{"accounting_reference": "OLD"}, {"accounting_reference": "NEW", "since": LAST}], "NEW"),
        ([{"accounting_reference": "OLD"}, {"accounting_reference": "NEW", "since": LAST + DAY}], "OLD"),
    ],
)
def test_a_reference_is_that_of_the_last_day(contracts: list[dict[str, Any]], expected: str) -> None:
    one = account()
    one.customer.external_reference = "CRM-1"
    one.customer.save(update_fields=["external_reference"])
    figure(one)
    prices = price_list()
    for facts in contracts:
        contract(one.customer, prices, **facts)
    rate_month(NOVEMBER, now=NOW)
    close()
    assert {row["customer reference"] for row in rows_of(content(exported()))} == {expected}


def test_what_is_held_back_is_told_and_not_in_the_file() -> None:
    closed_month()
    first = Statement.objects.order_by("customer")[0]
    assert first.customer
    others = Customer.objects.exclude(pk=first.customer_id)
    others.update(external_reference="")
    close()
    for each in others:
        unblock(each)
    answer = exported()
    assert 'filename="accounting-2026-11-partial.csv"' in answer.headers["Content-Disposition"]
    assert {row["statement number"] for row in rows_of(content(answer))} == {"000001"}
    event = AuditEvent.objects.get(verb="accounting.exported")
    assert event.after == {
        "month": "2026-11", "file": "accounting-2026-11-partial.csv", "held_back": 2
    }  # fmt: skip
    assert "2 statements are held back" in page_of(client_of(), "month-accounting", "2026-11")
    close()
    assert 'filename="accounting-2026-11.csv"' in exported().headers["Content-Disposition"]
    assert "held back" not in page_of(client_of(), "month-accounting", "2026-11")


def test_a_month_without_closed_statements_has_no_file() -> None:
    closed_month()
    assert "Close the month first." in exported(status=409).content.decode()
    assert "No statement of this month is closed." in page_of(client_of(), "month-accounting", "2026-11")
    assert not AuditEvent.objects.filter(verb="accounting.exported").exists()


def test_formats_months_and_permissions() -> None:
    closed_month()
    close()
    assert content(exported("?format=xlsx"))[:2] == b"PK"
    exported("?format=pdf", status=400)
    exported(role="customer_success", status=403)
    exported(role="auditor", status=403)
    assert "Export" not in page_of(client_of("auditor"), "month-accounting", "2026-11").split("Closed statements")[1]
    client = client_of()
    for month in ("2026-13", "november", "2026-1"):
        assert client.get(reverse("billing:month-accounting", args=[month])).status_code == 404
        assert client.get(reverse("billing:month-accounting-export", args=[month])).status_code == 404


def test_more_lines_take_as_many_queries() -> None:
    closed_month()
    close()
    counts = []
    for _ in range(2):
        client = client_of()
        client.get(reverse("billing:month-accounting", args=["2026-11"]))
        with CaptureQueriesContext(connection) as found:
            content(client.get(reverse("billing:month-accounting-export", args=["2026-11"])))
        counts.append(len(found))
        for n in range(5):
            customer_with(used=130_500, name=f"{len(counts)} {n}")
        rate_month(NOVEMBER, now=NOW)
        close()
    assert counts[0] == counts[1]
