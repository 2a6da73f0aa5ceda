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
from django.db.models import Count, F, Sum

from billing.models import MonthTotal, SyncItem, SyncRun, UsagePeriod, UsageRollup, UsageSnapshot
from billing.usage import batches, pipeline, rollups
from customers.connections import commands as connection_commands
from customers.models import Account, Connection
from portal.commands import Command
from tests.support.factories import AccountFactory
from tests.support.processes import database_url
from tests.support.sandbox import KEY, SandboxProcess

ROOT = Path(__file__).resolve().parents[3]
# More than two batches; KILLED_SYNC_ACCOUNTS=100000 for a large one, which takes minutes.
ACCOUNTS = int(os.environ.get("KILLED_SYNC_ACCOUNTS", "2400"))
# A process that kills itself while its second batch, or one in the middle, is being written: all is stored but the
# roll-ups.
KILLED_IN_A_BATCH = f"""
import os, signal
import django
django.setup()
from django.core.management import call_command
from billing.usage import rollups
refresh, calls = rollups.refresh, []
def killed(changed):
    calls.append(1)
    if len(calls) == {max(2, ACCOUNTS // batches.BATCH // 2)}:
        os.kill(os.getpid(), signal.SIGKILL)
    refresh(changed)
rollups.refresh = killed
call_command("sync_usage")
"""
DEADLINE_SECONDS = max(60.0, ACCOUNTS / 100)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def connection(sandbox: SandboxProcess, transactional_db: None) -> Connection:
    """A connection with many accounts and no limit that they reach."""
    made = connection_commands.add_connection(
        Command(None),
        api_key=KEY,
        facts={
            "name": "SendGrid test",
            "kind": "sendgrid",
            "base_url": sandbox.base_url,
            "requests_per_minute": 600_000,
        },
    )
    sandbox.admin.switch("rate_per_minute", 0)
    there = sandbox.admin.add_accounts(
        [{"email": f"a{n}@company.example", "sending": {"per_day": 50 + n}} for n in range(ACCOUNTS)]
    )
    first = AccountFactory(connection=made, provider_id=there[0]["id"])
    others = [
        AccountFactory.build(connection=made, customer=first.customer, provider_id=each["id"]) for each in there[1:]
    ]
    Account.objects.bulk_create(others)
    return made


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a sync in a process of its own; whatever still runs at the end is ended by its pid."""
    started: list[subprocess.Popen[str]] = []
    here = {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "portal.settings"}

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *(arguments or ("manage.py", "sync_usage"))],
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
        process.wait(60)
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


def assert_figures_are_those_read(accounts: int) -> None:
    """Nothing is lost or counted twice on the way from the readings to the sums of a month."""
    used = UsageSnapshot.objects.aggregate(n=Sum("used"))["n"]
    assert UsagePeriod.objects.filter(readings=1).count() == UsagePeriod.objects.count() == accounts
    assert UsagePeriod.objects.aggregate(n=Sum("used"))["n"] == used
    assert UsageRollup.objects.aggregate(n=Sum("used"), figures=Sum("figures")) == {"n": used, "figures": accounts}
    assert MonthTotal.objects.aggregate(n=Sum("used"), figures=Sum("figures")) == {"n": used, "figures": accounts}
    assert list(rollups.wrong_sums()) == []
    told = Account.objects.filter(usage_read_at__isnull=False, usage_periods__isnull=False)
    assert told.filter(usage_used=F("usage_periods__used")).count() == accounts


def no_duplicates() -> bool:
    counted = UsageSnapshot.objects.values("account", "period_start_on").annotate(n=Count("pk"))
    return not counted.filter(n__gt=1).exists()


@pytest.mark.long
@pytest.mark.parametrize("when", ["between", "in a batch"])
def test_a_killed_run_goes_on_where_it_stopped(
    connection: Connection, sandbox: SandboxProcess, start: Callable[..., subprocess.Popen[str]], when: str
) -> None:
    if when == "in a batch":
        process = start("-c", KILLED_IN_A_BATCH)
        process.wait(DEADLINE_SECONDS)
    else:
        process = start()
        wait_for(UsageSnapshot.objects.exists, "the first batch was never written")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    assert process.returncode == -signal.SIGKILL

    run = SyncRun.objects.get()
    written = UsageSnapshot.objects.count()
    assert 0 < written < ACCOUNTS, "it was killed in the middle"
    assert run.state == SyncRun.State.RUNNING
    assert run.done == written == ACCOUNTS - SyncItem.objects.filter(run=run).count(), "a batch is whole or not there"
    assert_figures_are_those_read(written)

    SyncRun.objects.update(lease_until=None)  # as ninety seconds later
    ended(start())

    run.refresh_from_db()
    assert SyncRun.objects.count() == 1
    assert (run.state, run.done, run.total) == (SyncRun.State.COMPLETE, ACCOUNTS, ACCOUNTS)
    assert UsageSnapshot.objects.count() == ACCOUNTS
    assert no_duplicates()
    assert_figures_are_those_read(ACCOUNTS)
    asked = len(sandbox.admin.requests("credits"))
    assert asked <= ACCOUNTS + 3 * batches.BATCH + pipeline.MOST_THREADS, "only what was not written is asked twice"


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
