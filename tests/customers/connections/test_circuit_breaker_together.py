"""The circuit breaker as several processes count on it and try it at the same moment."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from customers.connections import circuit_breaker
from customers.connections import client as connection_client
from customers.models import Breaker, Connection
from portal.audit.models import AuditEvent
from portal.providers import Evidence
from tests.support.factories import ConnectionFactory
from tests.support.sandbox import SandboxProcess
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
REFUSED = Evidence(method="GET", status=None, failure="the connection was refused", sent_at=NOW)


def test_every_failure_and_every_answer_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "OPENS_AT", 10_000)
    for _ in rounds():
        connection = ConnectionFactory()
        circuit_breaker.count(connection, answered=0, failed=100, now=NOW)

        def work(n: int, connection: Connection = connection) -> None:
            for _ in range(10):
                failed = n % 2
                circuit_breaker.count(connection, answered=1 - failed, failed=2 * failed, now=NOW)

        together(work, 4)
        assert Breaker.objects.get(connection=connection).failures == 100 + 2 * 10 * 2 - 2 * 10


def test_it_opens_once() -> None:
    for _ in rounds():
        connection = ConnectionFactory()

        def work(_n: int, connection: Connection = connection) -> None:
            for _ in range(3):
                circuit_breaker.record_exchanges(connection, exchanges=[REFUSED], clock=lambda: NOW)

        together(work, 4)
        assert circuit_breaker.breaker_status(connection).is_open
        opened = AuditEvent.objects.filter(verb="connection.breaker_opened", object_id=connection.public_id)
        assert opened.count() == 1


def opened(connection: Connection) -> None:
    circuit_breaker.count(connection, answered=0, failed=circuit_breaker.OPENS_AT, now=NOW)


def test_one_process_makes_the_trial(sandbox: SandboxProcess) -> None:
    later = NOW + timedelta(seconds=30)
    for _ in rounds():
        connection = ConnectionFactory(base_url=sandbox.base_url)
        opened(connection)
        sandbox.admin.clear_requests()
        together(lambda _n, c=connection: circuit_breaker.try_again(c.pk, clock=lambda: later), 4)
        assert Counter(each["path"] for each in sandbox.admin.requests("list")).total() == 1
        assert not circuit_breaker.breaker_status(connection).is_open
        closed = AuditEvent.objects.filter(verb="connection.breaker_closed", object_id=connection.public_id)
        assert closed.count() == 1


NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("answers", [True, False])
def test_a_trial_that_came_back_late_changes_nothing(sandbox: SandboxProcess, answers: bool) -> None:
    """One worker slept in its trial until another one had tried and met nobody. What the sleeper finds is old."""
    first, second = NOW + timedelta(seconds=30), NOW + timedelta(seconds=91)

    def meets_nobody(connection: Connection) -> Any:
        connection.base_url = NOBODY
        return connection_client.trial_client(connection)

    def sleeps(connection: Connection) -> Any:
        def another(_n: int) -> None:
            circuit_breaker.try_again(connection.pk, clock=lambda: second, connect=meets_nobody)

        together(another, 1)
        connection.base_url = sandbox.base_url if answers else NOBODY
        return connection_client.trial_client(connection)

    for _ in rounds():
        connection = ConnectionFactory(base_url=sandbox.base_url)
        opened(connection)
        circuit_breaker.try_again(connection.pk, clock=lambda: first, connect=sleeps)
        standing = circuit_breaker.breaker_status(connection)
        assert (standing.is_open, standing.trials) == (True, 1)
        assert standing.retry_at == second + circuit_breaker.PAUSES[1]
