"""What an operation costs, and how long a person's click waits during a bulk change.

    python -m tests.bench.engine_rates [--accounts 1000] [--clicks 30]

Everything is started for it: PostgreSQL, Redis, the sandbox with a latency of 100 ms, and the workers and scheduler of
docker-compose.yml. Statements, requests and processor time are counted in this process, on the way that a worker takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import psutil

from tests.bench.results import Row, table

ROOT = Path(__file__).resolve().parents[2]
LATENCY_MS = 100
ROUNDS, MESSAGES = 12, 1000
CLICK_EVERY, WAITS_AT_MOST = 1.0, 60.0


def measure_engine(*, accounts: int = 1000, clicks: int = 30) -> list[Row]:
    """Measure with `accounts` in the bulk change and `clicks` during it; print and return the figures. It takes about
    two minutes, and a second more for every click."""
    from tests.env import KEYS  # noqa: PLC0415 starts a database where the tests' settings are read
    from tests.support.postgres import Postgres  # noqa: PLC0415 beside it
    from tests.support.redis import Redis  # noqa: PLC0415 beside it

    server, broker = Postgres(), Redis()
    with tempfile.TemporaryDirectory(prefix="pk-engine-") as folder:
        env = {name: value for name, value in os.environ.items() if name not in ("TEST_DATABASE", "CACHE_URL")} | KEYS
        env |= {"DATABASE_URL": server.url, "REDIS_URL": broker.url, "DATA_DIR": folder,
                "DJANGO_SETTINGS_MODULE": "portal.settings", "PORTAL_STATEMENT_SECONDS": "0"}  # fmt: skip
        try:
            server.start()
            broker.start()
            inside = [sys.executable, "-m", "tests.bench.engine_rates", "--inside", folder, "--accounts",
                      str(accounts), "--clicks", str(clicks)]  # fmt: skip
            done = subprocess.run(inside, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            broker.remove()
            server.remove()
    rows = [Row(**each) for each in json.loads(done.stdout.splitlines()[-1])]
    print(table(rows), flush=True)
    return rows


def _row(name: str, value: float, unit: str, *, must: float | None = None, floor: float | None = None) -> Row:
    """Return a figure; `must` bounds the value itself, `floor` only tells of the machine."""
    return Row("engine", name, value, unit, floor, None, must, "lower")


# --- Inside a process with the database and the broker of this run ----------------------------------------------------


def _inside(folder: Path, accounts: int, clicks: int) -> list[Row]:
    import django  # noqa: PLC0415 with this run's environment

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 after setup

    from tests.support.sandbox import SandboxProcess  # noqa: PLC0415 after setup

    call_command("migrate", verbosity=0)
    noop_rate, noop_ms = _noop()
    rows = [_row("Celery no-op, tasks a second", noop_rate, ""), _row("Celery no-op, CPU", noop_ms, "ms")]
    with SandboxProcess(data=folder / "costs.sqlite3") as one, SandboxProcess(data=folder / "bulk.sqlite3") as other:
        rows += _costs(one, noop_ms)
        rows += _clicks(other, folder, accounts, clicks)
    return rows


def _noop() -> tuple[float, float]:
    """Return the tasks a second of one worker process, and its milliseconds of processor time for each."""
    from tests.bench.noop import noop  # noqa: PLC0415 knows the broker of this run

    for n in range(MESSAGES):
        noop.delay(n)
    command = [sys.executable, "-m", "celery", "-A", "tests.bench.noop", "worker", "-c", "1", "--without-gossip",
               "--without-mingle", "--without-heartbeat"]  # fmt: skip
    with noop.app.connection_for_read() as broker:
        queue = broker.default_channel.client

        def waiting() -> int:
            return int(queue.llen("celery"))

        worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _until(lambda: waiting() < MESSAGES, seconds=60)
            began, first, spent = time.monotonic(), waiting(), _seconds_of(worker.pid)
            _until(lambda: waiting() == 0, seconds=60)
            took, did = time.monotonic() - began, first - waiting()
            return did / took, (_seconds_of(worker.pid) - spent) / did * 1000
        finally:
            worker.kill()
            worker.wait(20)


def _seconds_of(pid: int) -> float:
    """Return the processor time of a process and of those it started."""
    parent = psutil.Process(pid)
    times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _connected(sandbox: Any, name: str, **facts: Any) -> Any:
    from customers.connections import catalogue  # noqa: PLC0415 after setup
    from customers.connections import commands as connection_commands  # noqa: PLC0415
    from customers.models import Connection  # noqa: PLC0415
    from portal.commands import Command  # noqa: PLC0415
    from tests.support.sandbox import KEY  # noqa: PLC0415

    facts = {"name": name, "kind": "sendgrid", "base_url": sandbox.base_url, **facts}
    connection = connection_commands.add_connection(Command(None), api_key=KEY, facts=facts)
    catalogue.refresh_catalogue(Command(None), connection=connection)
    Connection.objects.filter(pk=connection.pk).update(
        probe_available=True, usage_source_when_suspended=connection.usage_source
    )
    connection.refresh_from_db()
    return connection


def _accounts(sandbox: Any, connection: Any, count: int, name: str) -> list[Any]:
    from customers.models import Account, Customer  # noqa: PLC0415 after setup
    from tests.support.factories import AccountFactory, CustomerFactory  # noqa: PLC0415

    emails = [f"{name}{n}@bench.example" for n in range(count)]
    there = sandbox.admin.add_accounts([{"email": email} for email in emails])
    offerings = [{"name": each["name"], "type": each["type"], "quantity": 1} for each in there[0].get("offerings", [])]
    customers = Customer.objects.bulk_create(CustomerFactory.build_batch(count))
    rows = [
        AccountFactory.build(
            customer=customer, connection=connection, provider_id=one["id"], email=email,
            offerings=offerings, desired_offerings=offerings,
        )
        for customer, one, email in zip(customers, there, emails, strict=True)
    ]  # fmt: skip
    return Account.objects.bulk_create(rows)


def _costs(sandbox: Any, noop_ms: float) -> Iterator[Row]:
    """Yield statements, requests and processor time of each kind of operation."""
    from datetime import timedelta  # noqa: PLC0415 beside the rest

    from django.utils import timezone  # noqa: PLC0415 after setup

    from customers.models import Account  # noqa: PLC0415
    from customers.operations import commands as operation_commands  # noqa: PLC0415
    from portal.commands import Command  # noqa: PLC0415
    from portal.providers import ProviderOffering  # noqa: PLC0415
    from tests.customers.conftest import BIGGER, PACKAGE  # noqa: PLC0415
    from tests.support.factories import UserFactory  # noqa: PLC0415

    sandbox.admin.switch("rate_per_minute", 60_000)
    connection = _connected(sandbox, "Costs", requests_per_minute=60_000)
    person = UserFactory(role="admin")
    mine = _accounts(sandbox, connection, ROUNDS, "cost")
    Account.objects.update(usage_end_on=(timezone.now() + timedelta(days=14)).date())

    def ask(kind: str, account: Any, **more: Any) -> Any:
        command = Command(person, reason="Measured.", token=f"{kind}-{account.pk}-{time.monotonic()}")
        account.refresh_from_db()
        return getattr(operation_commands, f"request_{kind}")(command, account=account, **more)

    def offerings(account: Any) -> Any:
        account.refresh_from_db()
        found = [ProviderOffering(**each) for each in account.offerings or []]
        other = BIGGER if PACKAGE in found else PACKAGE
        wanted = [other, *(each for each in found if each.type != "package")]
        return ask("offerings", account, base=found, version=account.version, offerings=wanted)

    requests: dict[str, Callable[[Any], Any]] = {
        "suspend": lambda account: ask("suspend", account),
        "unsuspend": lambda account: ask("unsuspend", account),
        "offerings": offerings,
        "delete": lambda account: ask("delete", account),
    }
    for kind, request in requests.items():
        found = [_measured(request(account)) for account in mine][2:]  # the first two warm up
        statements, calls, work, inside = (median(column) for column in zip(*found, strict=True))
        required = kind == "suspend"
        yield _row(f"{kind}: statements", statements, "", must=20 if required else None)
        yield _row(f"{kind}: provider calls", calls, "", must=3 if required else None)
        yield _row(f"{kind}: CPU outside provider calls", work - inside, "ms", must=15, floor=noop_ms)
        yield _row(f"{kind}: CPU with provider calls", work, "ms", floor=noop_ms)


def _measured(operation: Any) -> tuple[int, int, float, float]:
    """Perform one operation; return its statements, its requests, and the milliseconds of processor time of this
    process and the database, in all and within the requests."""
    from django.db import connection as database  # noqa: PLC0415 after setup

    from customers import tasks  # noqa: PLC0415
    from customers.operations import executor  # noqa: PLC0415
    from portal.providers import http  # noqa: PLC0415
    from tests.bench.timing import Timing, measured  # noqa: PLC0415

    inside, calls, counted = [0.0], [0], [0]
    call, perform = http.Http.call, executor.perform

    def timed(self: Any, each: Any) -> Any:
        calls[0] += 1
        at = time.process_time()
        try:
            return call(self, each)
        finally:
            inside[0] += time.process_time() - at

    def counting(operation_id: int, **more: Any) -> bool:
        def count(execute: Any, *arguments: Any) -> Any:
            counted[0] += 1
            return execute(*arguments)

        with database.execute_wrapper(count):
            return perform(operation_id, **more)

    timing = Timing()
    with patch.object(http.Http, "call", timed), patch.object(executor, "perform", counting):
        measured(lambda: tasks.perform(operation.pk), timing)
    operation.refresh_from_db()
    if operation.state != "succeeded":
        raise RuntimeError(f"{operation.kind}: {operation.state}, {operation.summary}")
    return counted[0], calls[0], timing.work, inside[0] * 1000


def _clicks(sandbox: Any, folder: Path, accounts: int, clicks: int) -> Iterator[Row]:
    """Yield how long clicks at a connection wait until they are sent, while a bulk change of it runs."""
    from customers.bulk import commands as bulk_commands  # noqa: PLC0415 after setup
    from customers.models import Account, Attempt, ChangeSetItem, Operation  # noqa: PLC0415
    from customers.operations import commands as operation_commands  # noqa: PLC0415
    from portal.commands import Command  # noqa: PLC0415
    from tests.support.factories import UserFactory  # noqa: PLC0415

    sandbox.admin.switch("rate_per_minute", 600)
    connection = _connected(sandbox, "Bulk")
    asks, approves, person = (UserFactory(role="admin") for _ in range(3))
    many = _accounts(sandbox, connection, accounts, "many")
    some = _accounts(sandbox, connection, 8, "some")
    command = Command(asks, reason="Not paid.", token="bench-bulk")
    made = bulk_commands.plan_bulk_change(command, kind="suspend", wanted={}, account_ids=[each.pk for each in many])
    made = bulk_commands.submit_bulk_change(Command(asks), change_set=made)
    sandbox.admin.switch("latency_ms", LATENCY_MS)

    def click(account: Any) -> float:
        account.refresh_from_db()
        kind = "suspend" if account.desired_state == "active" else "unsuspend"
        told = Command(person, reason="Case 3318.", token=f"click-{time.monotonic()}")
        asked = getattr(operation_commands, f"request_{kind}")(told, account=account)
        sent = _until(lambda: Attempt.objects.filter(operation=asked).first(), seconds=WAITS_AT_MOST)
        return (sent.intended_at - asked.created_at).total_seconds() if sent else WAITS_AT_MOST

    with _workers(folder):
        if made.state == "waiting":
            bulk_commands.approve_bulk_change(Command(approves), change_set=made, plan_hash=made.plan_hash)
        done = Operation.objects.filter(change_set_item__change_set=made, state="succeeded")
        if not _until(lambda: done.count() >= 10, seconds=90):
            raise RuntimeError(f"the bulk change does not run: {made.state} {made.message}")
        began, before = time.monotonic(), done.count()
        waited = []
        for n in range(clicks):
            waited.append(click(some[n % len(some)]))
            time.sleep(CLICK_EVERY)
        rate = (done.count() - before) / (time.monotonic() - began)
        left = ChangeSetItem.objects.filter(change_set=made, state="ready").count()
        open_ones = Operation.objects.open().filter(change_set_item__change_set=made).count()
    if not left and not open_ones:
        raise RuntimeError("the bulk change ended before the clicks: choose more accounts")
    assert Account.objects.filter(connection=connection).count() == accounts + len(some)
    longest = quantiles(waited, n=20, method="inclusive")[-1]
    yield _row("click during a bulk change, p95 until sent", longest, "s", must=3)
    yield _row("click during a bulk change, median", median(waited), "s")
    yield _row("bulk change meanwhile, operations a second", rate, "")


@contextmanager
def _workers(folder: Path) -> Iterator[None]:
    """Run every worker of docker-compose.yml and the scheduler."""
    import yaml  # noqa: PLC0415 beside the rest

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    commands = [each["command"] for each in services.values() if each.get("command", [""])[0] == "celery"]
    started = []
    for n, command in enumerate(commands):
        with (folder / f"process-{n}.out").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command], cwd=ROOT, env=os.environ | {"PORTAL_WORKER": "1"},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
    try:
        yield
    finally:
        for each in started:
            each.kill()  # the parents of the pools; their children end with them
        for each in started:
            each.wait(20)


def _until(look: Callable[[], Any], *, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        rows = _inside(Path(chosen.inside), chosen.accounts, chosen.clicks)
        sys.stdout.write(json.dumps([asdict(row) for row in rows]) + "\n")
    else:
        measure_engine(accounts=chosen.accounts, clicks=chosen.clicks)


if __name__ == "__main__":
    main()
