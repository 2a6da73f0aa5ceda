"""Real processes of `manage.py sync_usage`: one killed in the middle, two at once, twice in a row."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Count

from billing.models import SyncItem, SyncRun, UsageSnapshot
from customers.connections import commands as connection_commands
from customers.models import Account, Connection
from portal.commands import Command
from tests.support.factories import AccountFactory
from tests.support.processes import database_url
from tests.support.sandbox import KEY, SandboxProcess

ROOT = Path(__file__).resolve().parents[3]
ACCOUNTS = 240
DEADLINE_SECONDS = 60.0
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def connection(sandbox: SandboxProcess, transactional_db: None) -> Connection:
    """A connection with many accounts, slow enough to be met in the middle: eighty a second."""
    made = connection_commands.add_connection(
        Command(None),
        api_key=KEY,
        facts={
            "name": "SendGrid test",
            "kind": "sendgrid",
            "base_url": sandbox.base_url,
            "requests_per_minute": 6_000,
        },
    )
    there = sandbox.admin.add_accounts(
        [{"email": f"a{n}@company.example", "sending": {"per_day": 50 + n}} for n in range(ACCOUNTS)]
    )
    customer = AccountFactory(connection=made, provider_id=there[0]["id"]).customer
    for each in there[1:]:
        AccountFactory(connection=made, customer=customer, provider_id=each["id"])
    return made


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a sync in a process of its own; whatever still runs at the end is ended by its pid."""
    started: list[subprocess.Popen[str]] = []
    here = {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "portal.settings"}

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "sync_usage", *arguments],
            cwd=ROOT,
            text=True,
            env=os.environ | here,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, output
    return output


def no_duplicates() -> bool:
    counted = UsageSnapshot.objects.values("account", "period_start_on").annotate(n=Count("pk"))
    return not counted.filter(n__gt=1).exists()


@pytest.mark.long
def test_a_killed_run_goes_on_where_it_stopped(
    connection: Connection, sandbox: SandboxProcess, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start()
    wait_for(lambda: UsageSnapshot.objects.count() >= 50, "the first batch was never written")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)

    run = SyncRun.objects.get()
    written = UsageSnapshot.objects.count()
    assert 0 < written < ACCOUNTS, "it was killed in the middle"
    assert run.state == SyncRun.State.RUNNING
    assert run.done == written == ACCOUNTS - SyncItem.objects.filter(run=run).count(), "a batch is whole or not there"

    SyncRun.objects.update(lease_until=None)  # as ninety seconds later
    ended(start())

    run.refresh_from_db()
    assert SyncRun.objects.count() == 1
    assert (run.state, run.done, run.total) == (SyncRun.State.COMPLETE, ACCOUNTS, ACCOUNTS)
    assert UsageSnapshot.objects.count() == ACCOUNTS
    assert no_duplicates()
    assert len(sandbox.admin.requests("credits")) <= ACCOUNTS + 200, "little is asked twice"


def test_two_at_once_are_one(
    connection: Connection, sandbox: SandboxProcess, start: Callable[..., subprocess.Popen[str]]
) -> None:
    for process in [start(), start()]:
        ended(process)
    run = SyncRun.objects.get()
    assert (run.state, run.done) == (SyncRun.State.COMPLETE, ACCOUNTS)
    assert UsageSnapshot.objects.count() == ACCOUNTS
    assert len(sandbox.admin.requests("credits")) == ACCOUNTS

    again = ended(start())
    assert "Nothing was synced again" in again
    assert UsageSnapshot.objects.count() == ACCOUNTS
    assert Account.objects.filter(usage_read_at=None).count() == 0
