"""A provider that cannot be reached: what opens the breaker, what goes on meanwhile, and how it comes back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from customers import dispatcher
from customers.connections import circuit_breaker
from customers.connections import client as connection_client
from customers.connections import commands as connection_commands
from customers.models import Account, Breaker, Connection, Operation
from customers.observed import accounts as observed_accounts
from customers.observed import scan_requests
from customers.operations import executor, transitions
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.providers import Evidence
from tests.customers.conftest import Desk
from tests.support.factories import AccountFactory, ConnectionFactory, OperationFactory, UserFactory
from tests.support.people import sign_in
from tests.support.sandbox import KEY, SandboxProcess

pytestmark = pytest.mark.django_db

START = datetime.fromisoformat("2026-11-21T10:00:00+00:00")
TICK = timedelta(seconds=5)


def told(status: int | None = 200, failure: str = "") -> Evidence:
    return Evidence(method="GET", status=status, failure=failure, sent_at=START)


REFUSED = told(None, "the connection was refused")


def learn(connection: Connection, *exchanges: Evidence, at: datetime = START) -> Breaker:
    circuit_breaker.record_exchanges(connection, exchanges=exchanges, clock=lambda: at)
    return circuit_breaker.breaker_status(connection)


def opened(connection: Connection, at: datetime = START) -> None:
    for _ in range(circuit_breaker.OPENS_AT):
        learn(connection, REFUSED, at=at)
    assert circuit_breaker.breaker_status(connection).is_open


# -- what opens it


@pytest.mark.parametrize(
    ("evidence", "out_of_reach"),
    [
        (told(None, "the connection was refused"), True),
        (told(None, "the response timed out"), True),
        (told(200, "the response was incomplete"), True),
        (told(500), True),
        (told(503), True),
        (told(200), False),
        (told(400), False),
        (told(401), False),
        (told(403), False),
        (told(404), False),
        (told(429), False),
        (Evidence(), False),
    ],
)
def test_no_answer_and_a_5xx_count_and_a_refusal_does_not(evidence: Evidence, out_of_reach: bool) -> None:
    assert circuit_breaker.unreachable(evidence) is out_of_reach
    connection = ConnectionFactory()
    for _ in range(circuit_breaker.OPENS_AT):
        learn(connection, evidence)
    assert circuit_breaker.breaker_status(connection).is_open is out_of_reach


def test_it_opens_when_failures_outnumber_answers() -> None:
    connection = ConnectionFactory()
    for evidence in [REFUSED, REFUSED, told(), REFUSED, told(429), REFUSED, REFUSED, REFUSED]:
        assert not learn(connection, evidence).is_open
    standing = learn(connection, told(503))
    assert (standing.is_open, standing.opened_at, standing.reason) == (True, START, "HTTP 503")
    assert standing.retry_at == START + timedelta(seconds=30)
    assert AuditEvent.objects.filter(verb="connection.breaker_opened").count() == 1


def test_one_piece_of_work_counts_once_by_its_end() -> None:
    connection = ConnectionFactory()
    learn(connection, *[REFUSED] * 20)
    assert Breaker.objects.get().failures == 1
    learn(connection, REFUSED, REFUSED, told())
    assert Breaker.objects.get().failures == 0
    learn(connection)
    assert not circuit_breaker.breaker_status(connection).is_open


def test_failures_long_after_one_another_do_not_add_up() -> None:
    connection = ConnectionFactory()
    for n in range(20):
        assert not learn(connection, REFUSED, at=START + n * (circuit_breaker.LATELY + TICK)).is_open


def test_where_nothing_ever_failed_there_is_no_row() -> None:
    connection = ConnectionFactory()
    learn(connection, told())
    assert not Breaker.objects.exists()


def test_one_connection_is_not_another() -> None:
    broken, other = ConnectionFactory(), ConnectionFactory()
    opened(broken)
    assert not circuit_breaker.breaker_status(other).is_open


# -- while it is open


def test_nothing_is_claimed_read_or_walked() -> None:
    broken, other = ConnectionFactory(), ConnectionFactory()
    now = timezone.now()
    for connection in (broken, other):
        OperationFactory(account__connection=connection)
        OperationFactory(account__connection=connection, state="unknown")
        AccountFactory(connection=connection, state_read_at=None)
    opened(broken, at=now)
    late = now + timedelta(minutes=20)
    due = Operation.objects.filter(pk__in=dispatcher.due_operations(now=late))
    assert {each.connection for each in due} == {other}
    assert {each.connection for each in observed_accounts.accounts_to_read(now=late)} == {other}
    for operation in Operation.objects.filter(connection=broken):
        assert transitions.claim(operation.pk, now=late) is None
        assert transitions.claim_for_verification(operation.pk, now=late) is None
    assert scan_requests.request_nightly_scans(now=now.replace(hour=3)) == 1


def test_a_trial_is_made_by_one_worker_after_a_pause_that_grows(sandbox: SandboxProcess) -> None:
    connection = ConnectionFactory(base_url=sandbox.base_url)
    opened(connection)
    Connection.objects.filter(pk=connection.pk).update(base_url="http://127.0.0.1:9")
    now, pauses = START, []
    for _ in range(4):
        assert circuit_breaker.due_connections(now=now) == []
        retry_at = circuit_breaker.breaker_status(connection).retry_at
        assert retry_at is not None
        pauses.append((retry_at - now).total_seconds())
        now = retry_at
        assert circuit_breaker.due_connections(now=now) == [connection.pk]
        circuit_breaker.try_again(connection.pk, clock=lambda at=now: at, connect=plain)
        circuit_breaker.try_again(connection.pk, clock=lambda at=now: at, connect=nobody)
    assert pauses == [30, 60, 120, 120]
    assert circuit_breaker.breaker_status(connection).trials == 4


def test_an_answer_closes_it_also_a_refusal(sandbox: SandboxProcess) -> None:
    connection = ConnectionFactory(base_url=sandbox.base_url)  # with a key the sandbox does not know
    opened(connection)
    later = START + timedelta(seconds=30)
    circuit_breaker.try_again(connection.pk, clock=lambda: later, connect=plain)
    assert not circuit_breaker.breaker_status(connection).is_open
    assert AuditEvent.objects.filter(verb="connection.breaker_closed").count() == 1
    assert len(sandbox.admin.requests("list")) <= 1


def test_a_trial_asks_once(sandbox: SandboxProcess) -> None:
    connection = connected(sandbox)
    opened(connection)
    sandbox.admin.arm("status-500", "list", count=10)
    circuit_breaker.try_again(connection.pk, clock=lambda: START + timedelta(seconds=30))
    assert circuit_breaker.breaker_status(connection).is_open
    assert len(sandbox.admin.requests("list")) == 1


def test_a_worker_dying_in_a_trial_delays_the_next_by_a_minute() -> None:
    connection = ConnectionFactory()
    opened(connection)
    now = START + timedelta(seconds=30)

    def dies(_connection: Connection) -> Any:
        raise SystemExit

    with pytest.raises(SystemExit):
        circuit_breaker.try_again(connection.pk, clock=lambda: now, connect=dies)
    assert circuit_breaker.due_connections(now=now + timedelta(seconds=59)) == []
    assert circuit_breaker.due_connections(now=now + timedelta(seconds=60)) == [connection.pk]


def test_a_paused_connection_is_not_tried() -> None:
    connection = ConnectionFactory(paused="person")
    opened(connection)
    later = START + timedelta(hours=1)
    assert circuit_breaker.due_connections(now=later) == []
    circuit_breaker.try_again(connection.pk, clock=lambda: later, connect=nobody)


def test_a_person_who_checks_the_connection_closes_it(sandbox: SandboxProcess) -> None:
    connection = connected(sandbox)
    opened(connection)
    connection_commands.verify_connection(Command(None, timezone.now()), connection=connection)
    assert not circuit_breaker.breaker_status(connection).is_open


# -- through the executor


@pytest.mark.long
def test_half_an_hour_without_the_provider(desk: Desk) -> None:
    """Clock moved in steps of the dispatcher; the provider's port answers nobody, then 503, then all again."""
    accounts = [desk.created(f"ops{n}@northwind.example") for n in range(12)]
    connection, now = desk.connection, timezone.now()
    for account in accounts:
        desk.ask("suspend", account)
    creates = [desk.ask_create(f"late{n}@northwind.example") for n in range(3)]
    Connection.objects.update(base_url="http://127.0.0.1:9", revision=2)
    rounds = _Rounds(desk, now)
    rounds.until(now + timedelta(minutes=15))
    assert circuit_breaker.breaker_status(connection).is_open
    Connection.objects.update(base_url=desk.sandbox.base_url, revision=3)
    desk.sandbox.admin.clear_requests()
    desk.sandbox.admin.arm("status-503", None, count=None)
    rounds.until(now + timedelta(minutes=30))
    tried = len(desk.sandbox.admin.requests())
    assert tried <= 3 * 15, "not more than three calls a minute"
    states = set(Operation.objects.filter(kind="suspend").values_list("state", flat=True))
    assert states == {"queued"}, "nothing failed by it, nothing was burnt"
    assert {Operation.objects.get(pk=each.pk).state for each in creates} == {"queued"}

    desk.sandbox.admin.clear_faults()
    rounds.until(now + timedelta(minutes=40))
    assert not circuit_breaker.breaker_status(connection).is_open
    assert set(Operation.objects.values_list("state", flat=True)) == {"succeeded"}
    assert len(desk.sandbox.admin.accounts()) == 15, "and each account was made once"
    trials = AuditEvent.objects.filter(verb="connection.breaker_opened").count()
    assert trials <= 2


class _Rounds:
    """The dispatcher's rounds, with a worker that takes at once whatever is poked."""

    def __init__(self, desk: Desk, now: datetime) -> None:
        self.desk, self.now = desk, now

    def until(self, end: datetime) -> None:
        while self.now < end:
            transitions.expire_leases(now=self.now)
            for connection_id in circuit_breaker.due_connections(now=self.now):
                circuit_breaker.try_again(connection_id, clock=lambda: self.now, connect=self._trial)
            for operation_id in dispatcher.due_operations(now=self.now):
                executor.perform(operation_id, clock=lambda: self.now, connect=self.desk.connect)
            self.now += TICK

    def _trial(self, connection: Connection) -> Any:
        return connection_client.trial_client(connection)


def test_a_refused_key_pauses_once_and_fails_no_operation(desk: Desk, client: Client) -> None:
    accounts = [desk.created(f"ops{n}@northwind.example") for n in range(8)]
    operations = [desk.ask("suspend", account) for account in accounts]
    desk.sandbox.admin.arm("status-401", None, count=None)
    for operation in operations:
        desk.perform(operation)
    desk.connection.refresh_from_db()
    assert desk.connection.paused == "auth"
    assert not circuit_breaker.breaker_status(desk.connection).is_open, "it answered"
    assert {Operation.objects.get(pk=each.pk).state for each in operations} == {"queued"}
    assert AuditEvent.objects.filter(verb="connection.paused").count() == 1
    admin = UserFactory(role="admin")
    sign_in(client, admin)
    home = client.get("/").content.decode()
    assert "Paused connections" in home
    assert f"/connections/{desk.connection.public_id}/" in home

    desk.sandbox.admin.clear_faults()
    connection_commands.replace_key(Command(admin), connection=desk.connection, api_key=KEY)
    for operation in operations:
        assert desk.drain(operation).state == "succeeded"


# -- on the pages


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_the_page_of_a_connection_says_so(client: Client, role: str) -> None:
    connection = ConnectionFactory(name="SendGrid EU")
    OperationFactory(account__connection=connection)
    sign_in(client, UserFactory(role=role))
    url = f"/connections/{connection.public_id}/"
    assert "is unreachable" not in client.get(url).content.decode()
    opened(connection, at=timezone.now())
    page = client.get(url).content.decode()
    assert "is unreachable" in page
    assert "the connection was refused" in page
    assert "1 operation is waiting and won't be lost" in page


def test_home_says_so(client: Client) -> None:
    account: Account = AccountFactory()
    sign_in(client, UserFactory(role="admin"))
    assert "Nothing needs review" in client.get("/").content.decode()
    opened(account.connection, at=timezone.now())
    page = client.get("/").content.decode()
    assert "Nothing needs review" not in page
    assert "Unreachable" in page


def connected(sandbox: SandboxProcess) -> Connection:
    return connection_commands.add_connection(
        Command(None), api_key=KEY, facts={"name": "SendGrid", "kind": "sendgrid", "base_url": sandbox.base_url}
    )


def plain(connection: Connection) -> Any:
    return connection_client.trial_client(connection)


def nobody(_connection: Connection) -> Any:
    raise AssertionError("nobody may ask now")
