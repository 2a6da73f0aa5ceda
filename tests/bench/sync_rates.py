"""Measure the usage sync against the provider simulator: its rate, its processor time and what its writing costs.

Everything is compared with a bare loop of `requests` in the same run. The simulator is a process of its own, reached by
real HTTP. What the sync stores is rolled back at the end. `measure_sync` needs Django with a migrated PostgreSQL
database (tests.bench.measure); with a Redis server the pace is counted there, as in production.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from shutil import which
from time import monotonic, process_time, sleep, thread_time
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import requests
from django.db import connection as database
from django.db import transaction
from django.test.utils import override_settings

from billing.models import SyncRun
from billing.usage import batches, pipeline, runs
from billing.usage import sync as usage_sync
from customers.connections import commands as connection_commands
from customers.connections.client import client_for
from customers.models import Account, Connection, Customer
from portal.commands import Command
from portal.providers import ProviderError, UsageSource
from tests.bench.results import Row, table
from tests.bench.timing import database_seconds
from tests.support.redis import Redis
from tests.support.sandbox import KEY, SandboxProcess

BARE_THREADS = 64
LATENCY_MS = 100
# More than any account here reaches: the pace is never what is measured.
NO_QUOTA = 1_000_000
QUOTA = 600
CLICK_EVERY_SECONDS = 3.0
OFFERINGS = [{"name": "postkeeper.ei.pro-300k.v1", "type": "package"}]


@dataclass(slots=True)
class Spent:
    """Seconds of one sync: on the clock, on the worker's processor, and for writing, in the worker and the database."""

    clock: float = 0.0
    worker: float = 0.0
    database: float = 0.0
    writing: float = 0.0
    writing_database: float = 0.0

    @property
    def written(self) -> float:
        return self.writing + self.writing_database


def measure_sync(*, accounts: int = 8_000, quota_seconds: float = 90.0) -> list[Row]:
    """Print and return all lines. Takes about four minutes; a quota is measured for `quota_seconds`."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(SandboxProcess())
        stack.enter_context(_redis())
        stack.enter_context(_rolled_back())
        connection = connect(sandbox, accounts)
        rows = list(_rates(sandbox, connection, accounts))
        rows += _at_a_quota(sandbox, connection, quota_seconds)
    return rows


def _rates(sandbox: SandboxProcess, connection: Connection, accounts: int) -> Iterator[Row]:
    admin = sandbox.admin
    admin.switch("rate_per_minute", 0)
    sync(connection)  # the first one stores new periods and warms up
    analyze()
    admin.move_clock(seconds=600)
    changed = sync(connection)
    unchanged = sync(connection)
    bare_cpu = bare(sandbox, connection, threads=8, seconds=5.0)[1]
    thousands = accounts / 1_000
    yield _row("worker CPU per 1,000 changed readings, s", changed.worker / thousands, bare_cpu, 2.0, value_alone=True)
    yield _row("worker CPU per 1,000 unchanged, s", unchanged.worker / thousands, bare_cpu, 2.0, value_alone=True)
    yield _row("writing of an unchanged night / a changed one, s", unchanged.written, changed.written, 0.3)
    admin.switch("latency_ms", LATENCY_MS)
    floor, _cpu = bare(sandbox, connection, threads=BARE_THREADS, seconds=10.0)
    admin.move_clock(seconds=600)
    slow = sync(connection)
    admin.switch("latency_ms", 0)
    yield _row(f"sync at {LATENCY_MS} ms, readings a second", accounts / slow.clock, floor, 0.6, higher=True)


def _row(name: str, value: float, floor: float, must: float, *, higher: bool = False, value_alone: bool = False) -> Row:
    """Print and return a row. `value_alone`: the value itself is what must be reached, the floor only tells of the
    machine."""
    ratio = None if value_alone else value / floor
    row = Row("sync", name, value, "", floor, ratio, must, "higher" if higher else "lower")
    print(table([row]).splitlines()[-1], flush=True)
    return row


# -- the sync


def sync(connection: Connection, *, seconds: float = float("inf")) -> Spent:
    """Sync all accounts of the connection, or as many as it takes `seconds`."""
    now = datetime.now(UTC)
    until = now + timedelta(hours=2)
    run, _new = runs.start_run(connection=connection, kind=SyncRun.Kind.ASKED, slot=uuid4().hex, now=now, until=until)
    spent = Spent()
    with _timed_writing(spent):
        clock, worker, database = monotonic(), process_time(), database_seconds()
        ends = clock + seconds
        while run.state == SyncRun.State.RUNNING and monotonic() < ends:
            if not usage_sync.sync_chunk(run.pk, seconds=min(usage_sync.CHUNK_SECONDS, ends - monotonic())):
                sleep(0.05)
            run.refresh_from_db()
        spent.clock, spent.worker = monotonic() - clock, process_time() - worker
        spent.database = database_seconds() - database
    if run.state == SyncRun.State.RUNNING:
        runs.abort(run, message="measured", now=datetime.now(UTC))
    elif (run.done, run.failed) != (run.total, 0):
        raise RuntimeError(f"{run.done} of {run.total} were read, {run.failed} failed")
    return spent


@contextmanager
def _timed_writing(spent: Spent) -> Iterator[None]:
    real = batches.flush

    def flush(*arguments: Any) -> None:
        worker, database = thread_time(), database_seconds()
        try:
            real(*arguments)
        finally:
            spent.writing += thread_time() - worker
            spent.writing_database += database_seconds() - database

    with patch.object(pipeline, "flush", flush):
        yield


# -- the floor


def bare(sandbox: SandboxProcess, connection: Connection, *, threads: int, seconds: float) -> tuple[float, float]:
    """Return calls a second of a loop of `requests`, and the processor seconds of 1,000 of its calls."""
    ids = list(connection.accounts.values_list("provider_id", flat=True))
    numbers, done, ends = count(), count(), monotonic() + seconds

    def loop(_n: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {KEY}"
            while monotonic() < ends:
                behalf = {"on-behalf-of": f"account-id {ids[next(numbers) % len(ids)]}"}
                session.get(f"{sandbox.base_url}/v3/user/credits", headers=behalf, timeout=30).json()
                next(done)

    begun, worker = monotonic(), process_time()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(loop, range(threads)))
    n = next(done)
    return n / (monotonic() - begun), (process_time() - worker) / n * 1_000


# -- at a quota


def _at_a_quota(sandbox: SandboxProcess, connection: Connection, seconds: float) -> list[Row]:
    """Sync at a quota while a person reads usage of the same endpoint, the worst case for both."""
    admin = sandbox.admin
    admin.set_clock(datetime.now(UTC).isoformat(), frozen=False)
    admin.switch("rate_per_minute", QUOTA)
    admin.switch("latency_ms", LATENCY_MS)
    Connection.objects.filter(pk=connection.pk).update(requests_per_minute=QUOTA, revision=connection.revision + 1)
    connection.refresh_from_db()
    admin.clear_requests()
    with _person(connection) as waits:
        spent = sync(connection, seconds=seconds)
    asked = [each["status"] for each in admin.requests("credits")]
    achieved = asked.count(200) / spent.clock
    refused = asked.count(429)
    slowest = max(waits, default=0.0)
    print(f"a person clicked {len(waits)} times, and waited {slowest:.2f} s at most", flush=True)
    return [
        _row(f"calls a second at a quota of {QUOTA} a minute", achieved, QUOTA / 60, 0.95, higher=True),
        _row("answers 429", float(refused), 1.0, 0.0),
    ]


@contextmanager
def _person(connection: Connection) -> Iterator[list[float]]:
    """Read an account's usage now and then, as a page does; yields how long each took."""
    account = connection.accounts.order_by("pk")[0].ref
    provider = client_for(connection, interactive=True)
    ended, waits = threading.Event(), []

    def click() -> None:
        while not ended.wait(CLICK_EVERY_SECONDS):
            at = monotonic()
            try:
                provider.usage(account, UsageSource.CREDITS)
            except ProviderError as error:
                print(f"a click failed: {error}", flush=True)
            waits.append(monotonic() - at)

    thread = threading.Thread(target=click)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


# -- what is measured with


def connect(sandbox: SandboxProcess, accounts: int) -> Connection:
    """Add a connection to the simulator, with accounts there and here. Their usage stands still until its clock is
    moved."""
    sandbox.admin.set_clock((datetime.now(UTC) - timedelta(hours=3)).isoformat())
    facts = {"name": "Bench", "kind": "sendgrid", "base_url": sandbox.base_url, "requests_per_minute": NO_QUOTA}
    connection = connection_commands.add_connection(Command(None), api_key=KEY, facts=facts)
    now = datetime.now(UTC)
    for start in range(0, accounts, 1_000):
        numbers = range(start, min(start + 1_000, accounts))
        wanted = [
            {"email": f"b{n}@bench.example", "offerings": OFFERINGS, "sending": {"per_day": 100_000}} for n in numbers
        ]
        there = sandbox.admin.add_accounts(wanted)
        customers = Customer.objects.bulk_create(
            [Customer(company_name=f"Bench {n}", email=f"b{n}@bench.example") for n in numbers]
        )
        Account.objects.bulk_create(
            [
                Account(
                    customer=customer,
                    connection=connection,
                    provider_id=each["id"],
                    email=customer.email,
                    state="active",
                    state_read_at=now,
                    package=OFFERINGS[0]["name"],
                    changed_at=now,
                )
                for each, customer in zip(there, customers, strict=True)
            ]
        )
    analyze()
    return connection


def analyze() -> None:
    """Tell the planner of the new rows: nothing else does while they are not committed."""
    with database.cursor() as cursor:
        cursor.execute("ANALYZE")


@contextmanager
def _rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def _redis() -> Iterator[None]:
    """Count the pace in a Redis of its own where its program is installed."""
    if not which("redis-server"):
        yield
        return
    server = Redis()
    server.start()
    try:
        with override_settings(REDIS_URL=server.url, REDIS_TLS={}):
            yield
    finally:
        server.remove()
