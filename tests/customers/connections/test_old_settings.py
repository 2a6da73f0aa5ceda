"""Answers that come after the connection they were asked with was given another key or address."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import responses

from customers.connections import catalogue, circuit_breaker
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Account, Breaker, Connection, Operation, Scan
from customers.observed import account_list
from customers.operations import executor
from portal.commands import Command
from portal.notices.models import Notice
from portal.providers import Evidence
from portal.refusals import Refusal
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory

pytestmark = pytest.mark.django_db
HOST = "https://api.sendgrid.com"
NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
NEW_KEY = "SG.another.key-of-a-test"
REFUSED = '{"errors":[{"message":"The provided authorization grant is invalid, expired, or revoked"}]}'

NOT_FOUND = '{"errors":[{"message":"Account not found","field":"","error_id":"10-40400"}]}'


@pytest.fixture
def wire() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def account() -> Account:
    return AccountFactory(connection=ConnectionFactory(base_url=HOST))


def key_is_replaced(connection: Connection) -> None:
    other = Connection.objects.get(pk=connection.pk)
    connection_commands.replace_key(Command(UserFactory(role="admin")), connection=other, api_key=NEW_KEY)


def answer_late(wire: responses.RequestsMock, account: Account, method: str, status: int, body: str) -> None:
    """The old key is answered so, after the new one was stored; the new one is answered well."""

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        if NEW_KEY in request.headers["Authorization"]:
            return (204, {"Content-Type": ""}, "") if method == "PUT" else (200, {}, '{"state": "activated"}')
        key_is_replaced(account.connection)
        return status, {}, body

    url = f"{HOST}/v3/partners/accounts/{account.provider_id}/state"
    wire.add_callback(method, url, callback=answer, content_type="application/json")


def suspend(account: Account) -> Operation:
    return OperationFactory(
        account=account, kind="suspend", requested_by=UserFactory(), not_before=NOW,
        payload={"desire": {"desired_state": "stopped_by_us"}},
    )  # fmt: skip


def perform(operation: Operation) -> Operation:
    executor.perform(operation.pk, clock=lambda: NOW, connect=connection_client.client_for)
    return Operation.objects.get(pk=operation.pk)


@pytest.mark.parametrize(("status", "body"), [(401, REFUSED), (403, '{"errors":[{"message":"access forbidden"}]}')])
def test_a_send_refused_with_the_old_key_is_made_again_at_once(
    wire: responses.RequestsMock, account: Account, status: int, body: str
) -> None:
    def state(_request: Any) -> tuple[int, dict[str, str], str]:
        done = any(each.request.method == "PUT" and each.response.status_code == 204 for each in wire.calls)
        return 200, {}, '{"state": "deactivated"}' if done else '{"state": "activated"}'

    wire.add_callback("GET", f"{HOST}/v3/partners/accounts/{account.provider_id}/state", callback=state)
    answer_late(wire, account, "PUT", status, body)
    operation = perform(suspend(account))
    assert (operation.state, operation.not_before) == ("queued", NOW), operation.summary
    account.connection.refresh_from_db()
    assert account.connection.paused == ""
    assert not Notice.objects.exists()
    done = perform(operation)
    assert done.state == "succeeded", done.summary


@pytest.mark.parametrize(("status", "body"), [(401, REFUSED), (404, NOT_FOUND)])
def test_a_reading_before_a_send_is_made_again_at_once(
    wire: responses.RequestsMock, account: Account, status: int, body: str
) -> None:
    answer_late(wire, account, "GET", status, body)
    operation = perform(suspend(account))
    assert (operation.state, operation.not_before) == ("queued", NOW), operation.summary
    account.connection.refresh_from_db()
    assert account.connection.paused == ""


def test_a_refusal_of_the_key_that_holds_pauses_as_before(wire: responses.RequestsMock, account: Account) -> None:
    wire.get(f"{HOST}/v3/partners/accounts/{account.provider_id}/state", body=REFUSED, status=401)
    assert perform(suspend(account)).state == "queued"
    account.connection.refresh_from_db()
    assert account.connection.paused == "auth"
    key_is_replaced(account.connection)
    account.connection.refresh_from_db()
    assert account.connection.paused == "", "paused after the form was opened, and the new key ends it"


def test_a_key_that_is_stored_by_editing_ends_the_pause_as_well(account: Account) -> None:
    connection_commands.pause_for_auth(account.connection, message="Refused", now=NOW)
    connection_commands.edit_connection(
        Command(UserFactory(role="admin")), connection=account.connection, facts={}, api_key=NEW_KEY
    )
    assert account.connection.paused == ""
    assert not Notice.objects.filter(ended_at=None).exists()


class TestWhatAnOldAnswerWritesNoMore:
    @pytest.fixture
    def old(self, account: Account) -> Connection:
        """The row as it was read before it was edited."""
        Connection.objects.update(last_answer_at=None, probe_available=None, verified_at=None, catalogue_read_at=None)
        old = Connection.objects.get(pk=account.connection_id)
        key_is_replaced(old)
        return old

    def fail(self, connection: Connection, times: int) -> None:
        lost = Evidence(sent_at=NOW, failure="no answer")
        for _n in range(times):
            circuit_breaker.record_exchanges(connection, exchanges=[lost], clock=lambda: NOW)

    def test_the_time_of_the_last_answer(self, old: Connection) -> None:
        connection_commands.record_contact(old, now=NOW)
        assert Connection.objects.get().last_answer_at is None

    def test_failures_of_the_breaker(self, old: Connection) -> None:
        self.fail(old, 10)
        assert not circuit_breaker.breaker_status(old).is_open
        self.fail(Connection.objects.get(), 10)
        assert circuit_breaker.breaker_status(old).is_open
        circuit_breaker.close(old)
        assert circuit_breaker.breaker_status(old).is_open, "an answer of the old host is none of the new one"

    def test_what_was_counted_at_another_address(self, old: Connection) -> None:
        current = Connection.objects.get()
        self.fail(current, 10)
        connection_commands.edit_connection(
            Command(UserFactory(role="admin")),
            connection=current,
            facts={"base_url": "https://api.eu.sendgrid.com"},
            api_key="SG.a-key-of-another-host",
        )
        assert not circuit_breaker.breaker_status(current).is_open
        assert Breaker.objects.get().failures == 0

    def test_what_a_check_found(self, wire: responses.RequestsMock, old: Connection) -> None:
        wire.get(f"{HOST}/v3/partners/accounts", json={"accounts": [], "pages": {}})
        wire.get(f"{HOST}/v3/partners/accounts/offerings", json={"catalog": []})
        assert not connection_commands.verify_connection(Command(None, NOW), connection=old)
        assert (Connection.objects.get().verified_at, Connection.objects.get().checks) == (None, [])

    def test_a_catalogue(self, wire: responses.RequestsMock, old: Connection) -> None:
        wire.get(f"{HOST}/v3/partners/offerings", json={"catalog": []})
        with pytest.raises(Refusal, match="edited while"):
            catalogue.refresh_catalogue(Command(None, NOW), connection=old)
        assert Connection.objects.get().catalogue_read_at is None

    def test_an_account_list(self, wire: responses.RequestsMock, old: Connection) -> None:
        wire.get(f"{HOST}/v3/partners/accounts", json={"accounts": [], "pages": {}})
        scan = Scan.objects.create(connection=old, kind="asked", slot="x", started_at=NOW, lease_until=NOW)
        account_list.read_account_list(scan, connection_client.client_for(old), clock=lambda: NOW)
        assert (scan.state, scan.message) == ("incomplete", "The connection was edited during the scan.")
