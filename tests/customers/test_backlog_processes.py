"""The portal after a bad night: a provider that answers after three seconds with 150 creates due, eight hours of the
scheduler's messages in the queues, and then the workers of production start. People's clicks at another provider are
sent at once meanwhile, and leases that ran out are taken up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
import time_machine
import yaml
from celery import Celery
from django.conf import settings
from django.utils import timezone

from customers.connections import catalogue
from customers.connections import commands as connection_commands
from customers.models import Account, Attempt, Connection, Heartbeat, Operation
from customers.models.operation_states import OperationState
from customers.operations import commands as operation_commands
from portal import queue as poking
from portal import queue_settings
from portal.commands import Command
from portal.providers import Profile, ProviderOffering
from tests.support import samples
from tests.support.factories import PACKAGE, AccountFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.processes import database_url
from tests.support.redis import Redis
from tests.support.sandbox import KEY, SandboxProcess
from tests.support.together import rounds

ROOT = Path(__file__).resolve().parents[2]
ANSWERS_AFTER_MS = 3000
CREATES = 150
STANDSTILL = timedelta(hours=8 if samples.is_proof() else 1)
CLICKS_A_ROUND = 8
SENT_WITHIN, TAKEN_UP_WITHIN = 3.0, 15.0
PATIENCE = float(os.environ.get("BACKLOG_PATIENCE", "30"))
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof, pytest.mark.redis]


@pytest.fixture
def broker(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """What clicks of this process are sent by: an application of its own at Redis, routed as the portal's."""
    sender = Celery("clicks", broker=redis_server.url, set_as_current=False)
    sender.conf.task_routes, sender.conf.task_default_queue = queue_settings.ROUTES, queue_settings.DEFAULT
    monkeypatch.setattr(poking, "current_app", sender)
    return sender


@contextmanager
def workers_of_production(redis_url: str, folder: Path) -> Iterator[None]:
    """Every worker of docker-compose.yml, and the scheduler, on the database of this test."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    commands = [each["command"] for each in services.values() if each.get("command", [""])[0] == "celery"]
    env = os.environ | {
        "DATABASE_URL": database_url(), "REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PORTAL_WORKER": "1", "DATA_DIR": str(folder), "LOG_LEVEL": "INFO",
    }  # fmt: skip
    started = []
    for n, command in enumerate(commands):
        with (folder / f"process-{n}.out").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
    try:
        yield
    finally:
        for each in started:
            each.kill()  # the parents of the pools; their children end with them
        for each in started:
            each.wait(20)


def pile_up(sender: Celery) -> int:
    """What the scheduler sends in `STANDSTILL` to queues that nobody reads. Returns how many."""
    began, sent = timezone.now() - STANDSTILL, []
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        every, options = entry["schedule"], entry.get("options", {})
        times = range(1, int(STANDSTILL.total_seconds() / every) + 1)
        sent += [(began + timedelta(seconds=n * every), entry["task"], options) for n in times]
    with sender.pool.acquire(block=True) as connection, sender.amqp.Producer(connection) as producer:
        for at, task, options in sorted(sent, key=lambda each: each[0]):
            with time_machine.travel(at, tick=False):
                sender.send_task(task, producer=producer, **options)
    return len(sent)


def connected(sandbox: SandboxProcess, name: str) -> Connection:
    facts = {"name": name, "kind": "sendgrid", "base_url": sandbox.base_url, "creates_per_hour": 10_000,
             "requests_per_minute": 60_000}  # fmt: skip
    connection = connection_commands.add_connection(Command(None), api_key=KEY, facts=facts)
    sandbox.admin.switch("rate_per_minute", 60_000)
    catalogue.refresh_catalogue(Command(None, timezone.now()), connection=connection)
    Connection.objects.filter(pk=connection.pk).update(probe_available=True)
    connection.refresh_from_db()
    return connection


def until(look: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def they_are_there() -> bool | None:
    alive = Heartbeat.objects.alive(now=timezone.now()).values_list("queues", flat=True)
    return {name for each in alive for name in each} >= set(queue_settings.NAMES) or None


def lease_that_ran_out(connection: Connection) -> Operation:
    """Its worker is gone, and nothing was sent."""
    now = timezone.now()
    account = AccountFactory(connection=connection)
    return OperationFactory(
        account=account, requested_by=UserFactory(), state=OperationState.CLAIMED, fence=1, lost_claims=1,
        concurrency_key=f"account:{account.pk}", lease_until=now, not_before=now,
    )  # fmt: skip


def taken_up(operation: Operation) -> float | None:
    """Seconds from the end of the lease to the first step after it."""
    step = operation.steps.filter(before=OperationState.CLAIMED).first()
    return (step.at - operation.not_before).total_seconds() if step else None


def click(account: Account) -> float | None:
    """Seconds from a click to the committed intent, behind which the request leaves at once."""
    account.refresh_from_db()
    ask = (
        operation_commands.request_suspend
        if account.desired_state == "active"
        else operation_commands.request_unsuspend
    )
    command = Command(UserFactory(), reason="Case 3318.", token=f"click-{time.monotonic()}")
    asked = ask(command, account=account)
    sent = until(lambda: Attempt.objects.filter(operation=asked).first())
    return (sent.intended_at - asked.created_at).total_seconds() if sent else None


@pytest.mark.long
def test_a_slow_provider_and_a_backlog_do_not_delay_others(broker: Celery, redis_server: Redis, tmp_path: Path) -> None:
    with SandboxProcess(data=tmp_path / "slow.sqlite3") as slow, SandboxProcess(data=tmp_path / "fast.sqlite3") as fast:
        late, healthy = connected(slow, "Late"), connected(fast, "Healthy")
        accounts = [
            AccountFactory(connection=healthy, provider_id=fast.admin.add_account(email=f"a{n}@fast.example")["id"])
            for n in range(CLICKS_A_ROUND)
        ]
        person = UserFactory()
        slow.admin.switch("latency_ms", ANSWERS_AFTER_MS)
        messages = pile_up(broker)
        for n in range(CREATES):
            operation_commands.request_create(
                Command(person, timezone.now(), token=f"create-{n}"),
                customer=CustomerFactory(),
                connection=late,
                profile=Profile(email=f"b{n}@late.example"),
                offerings=[ProviderOffering(PACKAGE, "package", 1)],
                is_test=False,
            )
        with workers_of_production(redis_server.url, tmp_path):
            assert until(they_are_there, seconds=240), "the workers did not start"
            leases = [lease_that_ran_out(healthy)]
            assert until(lambda: Attempt.objects.filter(operation__connection=late).first(), seconds=120)
            waited: list[float | None] = []
            for _round in rounds():
                for account in accounts:
                    waited.append(click(account))
                    assert waited[-1] is not None, f"not sent in {PATIENCE:.0f} s behind {messages} messages: {waited}"
                leases.append(lease_that_ran_out(healthy))
            expired = [until(lambda one=each: taken_up(one)) for each in leases]  # type: ignore[misc]
        still_due = (
            Operation.objects.filter(connection=late, kind="create").exclude(state=OperationState.SUCCEEDED).count()
        )
    p95 = quantiles([each for each in waited if each is not None], n=20, method="inclusive")[-1]
    said = (
        f"{len(waited)} clicks, {messages} messages, p95 {p95:.2f} s, each {[round(each or 0, 1) for each in waited]}; "
    )
    sys.stdout.write(f"{said}leases {expired}; {still_due} of {CREATES} creates still due\n")
    assert still_due > 0, "the slow provider was at work all the time"
    assert p95 < SENT_WITHIN
    assert all(each is not None and each < TAKEN_UP_WITHIN for each in expired), expired
