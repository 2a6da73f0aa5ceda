"""Connections in the browser: what an admin can do, what nobody can read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Breaker, Connection, Operation
from portal.audit.models import AuditEvent
from tests.customers.conftest import Desk
from tests.support.edits import seen_at
from tests.support.factories import ConnectionFactory, UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import EU_KEY, KEY, SandboxProcess


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    return sign_in(client, UserFactory(role="admin"))


def typed(base_url: str, **more: str) -> dict[str, str]:
    return {
        "kind": "sendgrid",
        "name": "SendGrid EU",
        "region": "other",
        "base_url": base_url,
        "api_key": EU_KEY,
        "usage_source": "credits",
        "v2_auth": "key_in_form",
        "requests_per_minute": "600",
        "creates_per_hour": "50",
    } | more


def test_adding_a_connection_checks_it_and_reads_the_catalogue(admin: Client, sandbox: SandboxProcess) -> None:
    sandbox.admin.add_account(email="there@already.example", organisation="reseller-eu")
    answer = admin.post(reverse("customers:connection-create"), typed(sandbox.base_url))
    connection = Connection.objects.get()
    assert answer.headers["Location"] == reverse("customers:connection", args=[connection.public_id])
    assert connection.probe_available is True, connection.checks
    assert connection.catalogue.filter(type="package").count() > 3
    page = admin.get(answer.headers["Location"]).content.decode()
    assert EU_KEY not in page
    assert connection.api_key_last4 == EU_KEY[-4:]
    assert EU_KEY not in str(list(Connection.objects.values()) + list(AuditEvent.objects.values()))


def test_what_was_typed_stays_but_never_the_key(admin: Client, sandbox: SandboxProcess) -> None:
    answer = admin.post(reverse("customers:connection-create"), typed("http://169.254.169.254/latest"))
    assert answer.status_code == 422
    assert "SendGrid EU" in answer.content.decode()
    assert EU_KEY not in answer.content.decode()
    assert not Connection.objects.exists()


def test_what_a_request_claims_was_shown_is_checked(admin: Client, sandbox: SandboxProcess) -> None:
    wrong = {"name": "x" * 81}
    answer = admin.post(
        reverse("customers:connection-create"), typed(sandbox.base_url, **wrong, seen=json.dumps(wrong))
    )
    assert answer.status_code == 422
    assert not Connection.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "http://api.sendgrid.com",
        "https://api.sendgrid.com.evil.example",
        "https://user@api.sendgrid.com",
        "https://api.sendgrid.com:8443",
        "https://api.sendgrid.com/x",
        "ftp://127.0.0.1",
        "https://10.0.0.1",
        "",
    ],
)
def test_an_address_that_is_not_a_providers_is_refused(admin: Client, address: str) -> None:
    assert admin.post(reverse("customers:connection-create"), typed(address)).status_code == 422
    assert not Connection.objects.exists()


def test_another_address_needs_the_key_again(admin: Client, desk: Desk) -> None:
    url = reverse("customers:connection-edit", args=[desk.connection.public_id])
    other = typed("http://127.0.0.1:9", name=desk.connection.name, api_key="")
    assert admin.post(url, other | seen_at(admin, url)).status_code == 422
    desk.connection.refresh_from_db()
    assert desk.connection.base_url == desk.sandbox.base_url


class TestAStoredV2Password:
    """It goes to no host it was not given for, whatever else is entered again."""

    def edit(self, admin: Client, desk: Desk, **more: str) -> tuple[int, Connection]:
        desk.connection.v2_username = "reseller"
        desk.connection.seal("v2_password_sealed", "the old v2 secret")
        desk.connection.save()
        url = reverse("customers:connection-edit", args=[desk.connection.public_id])
        sent = typed("http://127.0.0.1:9", name=desk.connection.name, v2_username="reseller") | more
        answer = admin.post(url, sent | seen_at(admin, url))
        assert "the old v2 secret" not in answer.content.decode()
        return answer.status_code, Connection.objects.get()

    def test_it_is_asked_for_again_where_it_is_used(self, admin: Client, desk: Desk) -> None:
        status, connection = self.edit(admin, desk, v2_auth="password")
        assert status == 422
        assert connection.base_url == desk.sandbox.base_url

    def test_the_one_entered_again_replaces_it(self, admin: Client, desk: Desk) -> None:
        status, connection = self.edit(admin, desk, v2_auth="password", v2_password="a new v2 secret")
        assert (status, connection.base_url) == (303, "http://127.0.0.1:9")
        assert connection.open("v2_password_sealed") == "a new v2 secret"
        assert "a new v2 secret" not in str(list(AuditEvent.objects.values()))
        assert AuditEvent.objects.get(verb="connection.edited").after["replaced"] == ["API key", "v2 sign-in"]

    def test_it_is_removed_where_it_is_not_used(self, admin: Client, desk: Desk) -> None:
        status, connection = self.edit(admin, desk, v2_auth="key_in_form")
        assert status == 303
        assert connection.v2_password_sealed == ""
        assert AuditEvent.objects.get(verb="connection.edited").after["removed"] == ["v2 sign-in"]

    def test_at_the_same_address_it_stays(self, admin: Client, desk: Desk) -> None:
        status, connection = self.edit(admin, desk, base_url=desk.sandbox.base_url, v2_auth="password", api_key="")
        assert status == 303
        assert connection.open("v2_password_sealed") == "the old v2 secret"


def test_a_new_key_resumes_a_connection_paused_for_the_old_one(admin: Client, desk: Desk) -> None:
    desk.sandbox.admin.arm("status-401", "create")
    operation = desk.perform(desk.ask_create())
    desk.connection.refresh_from_db()
    assert (operation.state, desk.connection.paused) == ("queued", "auth")
    page = admin.get(reverse("customers:connection", args=[desk.connection.public_id])).content.decode()
    assert "rejected the key" in page
    url = reverse("customers:connection-key", args=[desk.connection.public_id])
    admin.post(url, {"api_key": KEY} | seen_at(admin, url))
    assert desk.drain(operation).state == "succeeded"
    assert Operation.objects.count() == 1


def test_pausing_needs_a_reason(admin: Client, desk: Desk) -> None:
    url = reverse("customers:connection-pause", args=[desk.connection.public_id])
    admin.post(url, {"reason": " "})
    desk.connection.refresh_from_db()
    assert desk.connection.paused == ""
    admin.post(url, {"reason": "Contract talks."})
    desk.connection.refresh_from_db()
    assert desk.connection.paused == "person"
    admin.post(reverse("customers:connection-resume", args=[desk.connection.public_id]))
    desk.connection.refresh_from_db()
    assert desk.connection.paused == ""


def test_the_list_and_its_empty_state(admin: Client) -> None:
    assert "No connections yet" in admin.get(reverse("customers:connections")).content.decode()


def test_times_are_in_the_zone_of_the_reader(client: Client, db: None) -> None:
    admin = sign_in(client, UserFactory(role="admin", timezone="Asia/Kathmandu"))
    at = datetime(2026, 11, 18, 14, 21, tzinfo=UTC)
    paused = ConnectionFactory(paused="person", paused_at=at)
    page = admin.get(reverse("customers:connection", args=[paused.public_id])).content.decode()
    assert "18 Nov 2026 20:06 UTC+0545</time>. Queued operations start" in page
    away = ConnectionFactory()
    Breaker.objects.create(connection=away, failures=9, opened_at=at, retry_at=at, reason="No response")
    page = admin.get(reverse("customers:connection", args=[away.public_id])).content.decode()
    assert "18 Nov 2026 20:06 UTC+0545</time>: No response. The next test request" in page
    assert ">20:06:00 UTC+0545</time>" in page
