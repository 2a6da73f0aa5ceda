"""Account access: who entered a customer's accounts or took data of them, when, why and from where."""

from __future__ import annotations

import csv
import io
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from customers.models import Account
from portal import audit
from portal.access.models import User
from portal.audit.access import AccessFilters, accesses
from portal.audit.models import AuditEvent
from portal.audit.verbs import VERBS, access_verbs
from tests.support.factories import AccountFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.fixture
def auditor() -> User:
    return UserFactory(role="auditor", name="Audrey")


@pytest.fixture
def page(auditor: User) -> Client:
    return sign_in(Client(), auditor)


@pytest.fixture
def cleo() -> User:
    return UserFactory(role="customer_success", name="Cleo Lindqvist")


@pytest.fixture
def account() -> Account:
    return AccountFactory(customer=CustomerFactory(company_name="Larkfield Outdoor"))


def _verbs(page: Client, **query: object) -> list[str]:
    return [entry.event.verb for entry in page.get("/audit/access/", query).context["entries"]]


def test_every_access_to_a_customer_is_listed(page: Client, cleo: User, account: Account) -> None:
    other = AccountFactory()
    operation = OperationFactory(account=account)
    for verb, about in (
        ("account.signed_in_as", account), ("key.secret_shown", operation), ("key.create_asked", operation),
        ("message.test_asked", operation), ("statements.exported", account.customer), ("customers.exported", None),
    ):  # fmt: skip
        audit.record(actor=cleo, verb=verb, obj=about)
    audit.record(actor=cleo, verb="account.signed_in_as", obj=other)
    audit.record(actor=cleo, verb="account.suspend_asked", obj=operation)
    audit.record(actor=None, verb="key.create_asked", obj=operation)
    expected = [
        "customers.exported", "statements.exported", "message.test_asked", "key.create_asked", "key.secret_shown",
        "account.signed_in_as",
    ]  # fmt: skip
    key = account.customer.public_id
    assert _verbs(page, customer=key) == expected
    assert _verbs(page, account=account.public_id) == expected
    assert _verbs(page, customer=key, lists="no") == expected[1:]
    assert _verbs(page, account=account.public_id, lists="no") == expected[1:]
    assert _verbs(page, customer=key, kind="secret") == ["key.secret_shown"]
    assert _verbs(page, customer=key, kind="export") == expected[:2]
    assert _verbs(page, lists="no") == ["account.signed_in_as", *expected[1:]]
    assert len(_verbs(page)) == 7


def test_another_account_of_the_customer_is_not_this_one(page: Client, cleo: User, account: Account) -> None:
    second = AccountFactory(customer=account.customer)
    audit.record(actor=cleo, verb="account.signed_in_as", obj=second)
    assert _verbs(page, account=account.public_id) == []
    assert _verbs(page, customer=account.customer.public_id) == ["account.signed_in_as"]


def test_a_row_tells_who_when_why_and_from_where(page: Client, cleo: User, account: Account) -> None:
    event = audit.record(actor=cleo, verb="account.signed_in_as", obj=account, reason="Sender check on the phone.")
    AuditEvent.objects.create(verb="key.secret_shown", actor=cleo, actor_label="Cleo Lindqvist", ip="192.0.2.14")
    text = page.get("/audit/access/").content.decode()
    for said in ("Cleo Lindqvist", "Signed in as customer", "Sender check on the phone.", "192.0.2.14"):
        assert said in text
    assert f"{event.at:%H:%M}" in text
    assert "Larkfield Outdoor" in text


def test_an_access_without_a_reason_says_so(page: Client, cleo: User, account: Account) -> None:
    audit.record(actor=cleo, verb="key.secret_shown", obj=OperationFactory(account=account), after={"key_id": "k1"})
    text = page.get("/audit/access/").content.decode()
    assert "No reason entered" in text
    assert "None entered" in text
    audit.record(actor=cleo, verb="customers.exported", obj=None, after={"filters": ["State: Active"]})
    assert page.get("/audit/access/?kind=export").content.decode().count("None entered") == 0


def test_an_account_is_linked_once(page: Client, cleo: User, account: Account) -> None:
    audit.record(actor=cleo, verb="account.signed_in_as", obj=account, reason="Sender check.")
    details = page.get("/audit/access/").content.decode().split("pk-log-body")[1].split("</details>")[0]
    assert details.count(f'href="/accounts/{account.public_id}/"') == 1


def test_a_refused_day_stays_in_the_form(page: Client) -> None:
    answer = page.get("/audit/access/", {"from": "2026-12-30", "to": "2026-01-01"})
    assert answer.status_code == 400
    text = answer.content.decode()
    assert all(f'value="{day}"' in text for day in ("2026-12-30", "2026-01-01"))
    assert "<b>" not in page.get("/audit/access/", {"from": "<b>x"}).content.decode().split("audit-from")[1][:300]


def test_days_and_people_narrow_the_list(page: Client, cleo: User, auditor: User, account: Account) -> None:
    now = timezone.now()
    for days, actor in ((0, cleo), (5, auditor), (20, cleo)):
        AuditEvent.objects.create(verb="account.signed_in_as", actor=actor, at=now - timedelta(days=days))
    assert len(_verbs(page, period="7d")) == 2
    assert len(_verbs(page, period="today")) == 1
    assert len(_verbs(page, **{"from": f"{now - timedelta(days=6):%Y-%m-%d}", "to": f"{now:%Y-%m-%d}"})) == 2
    assert len(_verbs(page, person=cleo.public_id)) == 2


@pytest.mark.parametrize("query", ["customer=x", "account=x", "kind=x", "lists=yes", "period=x", "person=x"])
def test_an_unknown_filter_lists_nothing_and_says_so(page: Client, cleo: User, account: Account, query: str) -> None:
    audit.record(actor=cleo, verb="account.signed_in_as", obj=account)
    answer = page.get(f"/audit/access/?{query}")
    assert answer.status_code == 400
    assert "unknown value" in answer.content.decode()
    assert answer.context["entries"] == []


def test_a_customer_that_does_not_exist_is_refused(page: Client) -> None:
    assert page.get("/audit/access/?customer=00000000-0000-4000-8000-000000000000").status_code == 400


def test_the_file_has_the_same_rows_and_is_recorded(page: Client, cleo: User, account: Account) -> None:
    audit.record(actor=cleo, verb="account.signed_in_as", obj=account, reason="Sender check.")
    audit.record(actor=cleo, verb="account.suspend_asked", obj=account)
    answer = page.get(f"/audit/access/export/?account={account.public_id}")
    raw = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(raw)))
    assert [(row["actor"], row["event"], row["reason"]) for row in rows][-1:] == [
        ("Cleo Lindqvist", "Signed in as customer", "Sender check.")
    ]
    assert {row["verb"] for row in rows} <= set(access_verbs())
    event = AuditEvent.objects.get(verb="audit.access_exported")
    assert event.after["filters"] == [f"Account: {account}"]


def test_the_pages_of_a_customer_and_an_account_lead_there(page: Client, account: Account) -> None:
    customer = page.get(f"/customers/{account.customer.public_id}/").content.decode()
    assert f"/audit/access/?customer={account.customer.public_id}" in customer
    of_account = page.get(f"/accounts/{account.public_id}/").content.decode()
    assert f"/audit/access/?account={account.public_id}" in of_account
    assert "/audit/access/" in page.get("/audit/").content.decode()


def test_who_may_not_read_the_log_is_not_led_there(cleo: User, account: Account) -> None:
    client = sign_in(Client(), cleo)
    assert client.get("/audit/access/").status_code in (403, 404)
    assert "/audit/access/" not in client.get(f"/customers/{account.customer.public_id}/").content.decode()


def test_a_page_costs_the_same_for_few_and_many_accesses(page: Client, cleo: User, account: Account) -> None:
    counts = []
    page.get("/audit/access/")
    for many in (2, 60):
        for _n in range(many):
            audit.record(actor=cleo, verb="account.signed_in_as", obj=account)
        with CaptureQueriesContext(connection) as queries:
            page.get(f"/audit/access/?customer={account.customer.public_id}")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_accesses_of_one_customer_are_read_along_its_index(cleo: User, account: Account) -> None:
    others = [uuid.uuid4() for _n in range(100)]
    AuditEvent.objects.bulk_create(
        AuditEvent(verb="account.signed_in_as", actor=cleo, customer_id=others[n % 100]) for n in range(5000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE audit_auditevent")
    filters = AccessFilters({"customer": str(account.customer.public_id), "lists": "no"})
    assert "audit_customer" in accesses(filters).values_list("pk")[:51].explain()


def test_every_verb_of_an_export_is_an_access() -> None:
    """An export that holds no rows of customers is named here."""
    without_customers = {"price_list.exported", "cost_list.exported"}
    exports = {verb for verb in VERBS if verb.endswith(("exported", "downloaded"))}
    assert exports - set(access_verbs("export")) == without_customers
