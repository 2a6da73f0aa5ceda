"""Pages of month close: who may open them, what they show, and in how many queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.closing.months.up_to_date import check_month
from billing.closing.runs.verification import verify_closed_months
from billing.models import Blocker, ConnectionBilling, PriceList
from customers.models import Customer
from portal.audit.models import AuditEvent
from tests.billing.closing.closed import LATER, block, close, compared
from tests.billing.pricing.statements.agreed import NOVEMBER, NOW, account, contract, customer_with, figure
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
MONTH = "2026-11"


@pytest.fixture(autouse=True)
def _december(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)
    cache.clear()


def unknown() -> Customer:
    """A customer that the accounting tool doesn't know: its statement is blocked."""
    customer, _one = customer_with()
    Customer.objects.update(external_reference="")
    return customer


def client_of(role: str) -> Client:
    return sign_in(Client(), UserFactory(role=role))


def page(role: str = "finance", query: str = "") -> Any:
    check_month(NOVEMBER, now=NOW)
    return client_of(role).get(reverse("billing:month", args=[MONTH]) + query)


def test_what_blocks_comes_first_by_money() -> None:
    customer = unknown()
    missing = account()
    contract(missing.customer, PriceList.objects.get())
    figure(missing, None)
    said = page()
    found = [(each.row.kind, each.whose, each.money) for each in said.context["rows"]]
    assert found == [("missing", missing.customer, ""), ("no_reference", customer, "€89.95")]
    assert "Nothing blocks this month" not in said.content.decode()


def test_those_without_cost_see_no_month() -> None:
    customer_with()
    assert page("customer_success").status_code == 404
    assert client_of("customer_success").get(reverse("billing:months")).status_code == 404
    assert page("auditor").status_code == 200


def test_an_unknown_filter_is_refused() -> None:
    customer_with()
    assert page(query="?kind=nonsense").status_code == 400
    assert page(query="?kind=missing&owner=me&state=accepted&q=acme").status_code == 200


def test_a_month_without_statements_is_empty() -> None:
    said = page()
    assert said.status_code == 200
    assert "Nothing blocks this month" in said.content.decode()


def test_a_month_that_has_not_begun_is_no_page() -> None:
    customer_with()
    assert client_of("finance").get(reverse("billing:month", args=["2027-01"])).status_code == 404
    assert client_of("finance").get(reverse("billing:month", args=["november"])).status_code == 404


def test_a_reason_is_needed_to_accept() -> None:
    unknown()
    page()
    blocker = Blocker.objects.get()
    address, client = reverse("billing:blocker-accept", args=[blocker.public_id]), client_of("finance")
    said = client.post(address, {"seen": blocker.fingerprint, "reason": " "})
    assert said.status_code == 422
    assert "Enter a reason." in said.content.decode()
    assert client.post(address, {"seen": "old", "reason": "By hand"}).status_code == 422
    assert client.post(address, {"seen": blocker.fingerprint, "reason": "By hand"}).status_code == 303
    blocker.refresh_from_db()
    assert blocker.accepted_reason == "By hand"
    assert AuditEvent.objects.filter(verb="blocker.accepted", reason="By hand").count() == 1
    assert client.post(reverse("billing:blocker-reopen", args=[blocker.public_id])).status_code == 303
    blocker.refresh_from_db()
    assert blocker.accepted_at is None


def test_all_of_a_kind_get_an_owner_and_a_day() -> None:
    unknown()
    contract((other := account()).customer, PriceList.objects.get())
    figure(other)
    Customer.objects.update(external_reference="")
    page()
    colleague = UserFactory(role="finance")
    address = reverse("billing:blockers-assign", args=[MONTH]) + "?kind=no_reference"
    said = client_of("finance").post(address, {"owner": str(colleague.public_id), "due_on": "2026-12-04"})
    assert said.status_code == 303
    for blocker in Blocker.objects.all():
        assert (blocker.owner, f"{blocker.due_on}") == (colleague, "2026-12-04")
    event = AuditEvent.objects.get(verb="blocker.assigned")
    assert (event.after["kind"], event.after["blockers"]) == ("no_reference", 2)


def test_a_page_takes_the_same_queries_for_many_blockers() -> None:
    def queries() -> int:
        check_month(NOVEMBER, now=NOW)
        client = client_of("finance")
        client.get(reverse("billing:month", args=[MONTH]))
        with CaptureQueriesContext(connection) as captured:
            client.get(reverse("billing:month", args=[MONTH]))
        return len(captured)

    _customer, first = customer_with(used=None)
    few = queries()
    for _n in range(4):
        one = account(connection=first.connection)
        contract(one.customer, PriceList.objects.get())
        figure(one, None)
    assert queries() == few


def test_a_closed_month_keeps_what_was_accepted() -> None:
    blocker = block(unknown(), accepted="By hand")
    close()
    assert page().status_code == 200
    blocker.refresh_from_db()
    assert (blocker.accepted_reason, blocker.resolved_at) == ("By hand", None)
    assert verify_closed_months().problems == []


def test_the_rest_is_closed_where_only_cost_is_left(time_machine: Any) -> None:
    _customer, one = customer_with()
    compared(one.connection, 9000, 8000, tolerance=0)
    close()
    time_machine.move_to(LATER, tick=False)
    assert "Close the rest" in page().content.decode()
    ConnectionBilling.objects.update(tolerance_minor=2000)
    close()
    assert "Close the rest" not in page().content.decode()
