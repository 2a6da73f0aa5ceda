"""Several worker processes at the same rows: each row is taken by one of them, and none is stalled by the others.

Threads of one process, and SQLite, which lets one writer in at a time, do not show what PostgreSQL does when an UPDATE
has waited for a row that another one changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from customers.connections import catalogue
from customers.connections import commands as connection_commands
from customers.models import Account, Connection, Operation
from customers.models.operation_states import OperationState
from portal.commands import Command
from tests.support import samples
from tests.support.factories import AccountFactory, OperationFactory, UserFactory
from tests.support.processes import database_url
from tests.support.sandbox import KEY, SandboxProcess

ROOT = Path(__file__).resolve().parents[3]
LONG = samples.is_proof()
ROWS = 500 if LONG else 60
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def at_once(what: str, rows: list[int], processes: int) -> list[int]:
    """What `processes` processes took of `rows`, all beginning at the same moment."""
    own = {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.customers.claimer", what, str(seed)],
            cwd=ROOT,
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(processes)
    ]
    try:
        for each in started:
            assert each.stdin
            each.stdin.write(json.dumps(rows) + "\n")
            each.stdin.flush()
        for each in started:
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        for each in started:
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        outputs = [each.communicate(timeout=300)[0] for each in started]
        assert [each.returncode for each in started] == [0] * processes
        return [pk for output in outputs for pk in json.loads(output)]
    finally:
        for each in started:
            if each.poll() is None:
                each.kill()
            each.wait(60)


def queued(count: int, **facts: object) -> list[int]:
    """Operations of one connection, each of an account of its own."""
    first = OperationFactory(account=AccountFactory(), requested_by=UserFactory(), **facts)
    accounts = AccountFactory.create_batch(count - 1, connection=first.connection, customer=first.account.customer)
    more = [OperationFactory(account=each, requested_by=first.requested_by, **facts) for each in accounts]
    return [first.pk, *(each.pk for each in more)]


def processes() -> list[int]:
    return [2, 4, 8] if LONG else [4]


@pytest.mark.long
def test_each_row_is_claimed_by_one_process() -> None:
    for count in processes():
        rows = queued(ROWS)
        taken = at_once("claim", rows, count)
        assert [pk for pk, n in Counter(taken).items() if n > 1] == [], f"claimed twice by {count} processes"
        assert sorted(taken) == rows, "each was claimed"
        facts = Operation.objects.filter(pk__in=rows).values_list("state", "lost_claims", "fence").order_by().distinct()
        assert list(facts) == [(OperationState.CLAIMED, 1, 1)]


@pytest.mark.long
def test_each_unknown_operation_is_verified_by_one_process() -> None:
    for count in processes():
        rows = queued(ROWS, state=OperationState.UNKNOWN)
        taken = at_once("hold", rows, count)
        assert [pk for pk, n in Counter(taken).items() if n > 1] == [], f"taken twice by {count} processes"
        assert sorted(taken) == rows
        facts = (
            Operation.objects.filter(pk__in=rows).values_list("state", "verifications", "fence").order_by().distinct()
        )
        assert list(facts) == [(OperationState.UNKNOWN, 1, 1)]


@pytest.mark.long
def test_an_operation_run_by_many_processes_is_sent_once(sandbox: SandboxProcess) -> None:
    connection = connection_commands.add_connection(
        Command(None),
        api_key=KEY,
        facts={
            "name": "SendGrid test",
            "kind": "sendgrid",
            "base_url": sandbox.base_url,
            "creates_per_hour": 100_000,
            "requests_per_minute": 600_000,
        },
    )
    sandbox.admin.switch("rate_per_minute", 600_000)
    catalogue.refresh_catalogue(Command(None, timezone.now()), connection=connection)
    Connection.objects.update(probe_available=True)
    connection.refresh_from_db()
    person = UserFactory()
    made = 0
    for count in processes():
        accounts = [
            AccountFactory(pending=True, connection=connection, email=f"a{made + n}@company.example")
            for n in range(ROWS if LONG else 30)
        ]
        rows = [OperationFactory(kind="create", account=each, requested_by=person).pk for each in accounts]
        made += len(rows)
        assert at_once("perform", rows, count) == []
        ended = Operation.objects.filter(pk__in=rows)
        assert Counter(ended.values_list("state", "attempt_count", "lost_claims")) == {
            (OperationState.SUCCEEDED, 1, 0): len(rows)
        }
        assert len(sandbox.admin.accounts()) == made == Account.objects.exclude(provider_id=None).count()
        assert not Operation.objects.filter(lease_until__gt=timezone.now() - timedelta(days=1)).exists(), "none stalled"
