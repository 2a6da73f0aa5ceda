"""What the audit log says about a download, and when it is written."""

from __future__ import annotations

import pytest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import Client, RequestFactory

from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.downloads import recorded_download, table
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    return UserFactory(role="admin", name="Ada")


@pytest.fixture
def page(admin: User) -> Client:
    return sign_in(Client(), admin)


def _only(verb: str) -> AuditEvent:
    return AuditEvent.objects.get(verb=verb)


def test_an_export_is_recorded_with_its_filters_in_words(page: Client, admin: User) -> None:
    connection, owner = ConnectionFactory(name="SendGrid EU"), UserFactory(role="customer_success", name="Cleo")
    query = {
        "view": "attention", "state": "stopped_by_us", "connection": connection.public_id,
        "owner": owner.public_id, "q": "lark", "sort": "name", "size": "25",
    }  # fmt: skip
    page.get("/customers/export/", query, REMOTE_ADDR="192.0.2.7")
    event = _only("customers.exported")
    assert (event.actor, event.ip, event.customer_id) == (admin, "192.0.2.7", None)
    assert event.after["file"].startswith("customers-")
    assert event.after["filters"] == [
        "View: Needs review", "Search: lark", "State: Suspended", "Connection: SendGrid EU", "Owner: Cleo",
    ]  # fmt: skip


def test_an_export_without_filters_says_so(page: Client) -> None:
    page.get("/drift/export/")
    assert _only("drift.exported").after["filters"] == ["No filters"]


def test_the_audit_log_records_its_own_export(page: Client, admin: User) -> None:
    page.get(f"/audit/export/?person={admin.public_id}&verb=staff.signed_in&from=2026-11-18")
    filters = _only("audit.exported").after["filters"]
    assert filters == ["From: 18 Nov 2026", "Actor: Ada", "Event: Signed in"]


def test_refused_filters_leave_no_event(page: Client) -> None:
    assert page.get("/customers/export/?state=never").status_code == 400
    assert not AuditEvent.objects.filter(verb="customers.exported").exists()


def test_the_event_is_written_before_the_first_byte(admin: User) -> None:
    def rows() -> object:
        assert _only("customers.exported").actor == admin
        yield ["a"]

    answer = _sent(admin, "a.csv", rows())
    assert AuditEvent.objects.count() == 1
    assert b"a" in b"".join(answer.streaming_content)  # type: ignore[attr-defined]


def test_the_event_of_a_workbook_is_written_before_its_rows(admin: User) -> None:
    def rows() -> object:
        assert AuditEvent.objects.count() == 1
        yield ["a"]

    answer = _sent(admin, "a.xlsx", rows())
    assert answer["Content-Type"].endswith("spreadsheetml.sheet")
    answer.close()


def test_a_file_about_an_account_names_it_and_its_customer(page: Client, admin: User) -> None:
    account = AccountFactory(customer=CustomerFactory(company_name="Larkfield"))
    request = _request(admin)
    recorded_download(request, "a.csv", table([], []), verb="domain.records_downloaded", obj=account)
    event = _only("domain.records_downloaded")
    assert (event.account_id, event.customer_label) == (account.public_id, "Larkfield")


def _request(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def _sent(user: User, filename: str, rows: object) -> HttpResponseBase:
    return recorded_download(_request(user), filename, table(["x"], rows), verb="customers.exported")  # type: ignore[arg-type]
