"""Measure the usage pages and the upkeep of roll-ups on a seeded PostgreSQL database: `make bench`.

    python -m tests.bench.measure [--accounts 100000] [--months 24] [--database-url postgres://... (already seeded)]

Each page is requested once to warm up and then five times; the median counts. What counts is the time on the processor
of this process and of the database's together: the answer of an idle machine, whatever else runs. A machine's speed
drops out of the ratio to the floor, which is one indexed query of 50 rows in the same round. Nothing is left changed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import psutil

from tests.bench.seed import seed, use_database
from tests.support.postgres import Postgres

ROUNDS = 5
# Milliseconds of server time: the limit of each group of pages.
LIMITS = {"report": 100, "as of": 300}
CHANGED, TOGETHER = 2_000, 50
UPKEEP_LIMIT = 0.10


@dataclass
class Timing:
    """Milliseconds of several calls: on the clock, and on the processor of this process and of the database's."""

    clock: list[float] = field(default_factory=list)
    python: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    queries: int = 0

    @property
    def work(self) -> float:
        return median(a + b for a, b in zip(self.python, self.database, strict=True))

    def __str__(self) -> str:
        return (
            f"{self.work:7.1f} ms (Python {median(self.python):6.1f}, database {median(self.database):6.1f}"
            f" in {self.queries:2} queries; on the clock {min(self.clock):6.1f} or more)"
        )


def _database_seconds() -> float:
    """Return the processor time of the connection's server process and of parallel workers that ended."""
    from django.db import connection

    backend = psutil.Process(connection.connection.info.backend_pid)
    ran = int(Path(f"/proc/{backend.pid}/schedstat").read_text().split()[0]) / 1e9
    server = backend.parent()
    assert server is not None
    ended = server.cpu_times()
    return ran + ended.children_user + ended.children_system


def measured(call: Callable[[], Any], timing: Timing) -> None:
    from django.db import connection

    queries = [0]

    def count(execute: Any, *arguments: Any) -> Any:
        queries[0] += 1
        return execute(*arguments)

    clock, python, database = perf_counter(), process_time(), _database_seconds()
    with connection.execute_wrapper(count):
        call()
    timing.clock.append((perf_counter() - clock) * 1000)
    timing.python.append((process_time() - python) * 1000)
    timing.database.append((_database_seconds() - database) * 1000)
    timing.queries = queries[0]


def pages(last: date) -> Iterator[tuple[str, str, str]]:
    """Yield group, name and address of each page to measure."""
    from billing.models import Ledger, UsagePeriod
    from customers.models import Connection

    old = (last - timedelta(days=200)).replace(day=1)
    before = (last - timedelta(days=1)).replace(day=1)
    connection = Connection.objects.filter(kind="sendgrid").order_by("pk")[0].public_id
    now, month, recent = f"?month={last:%Y-%m}", f"?month={old:%Y-%m}", f"?month={before:%Y-%m}"
    yield "report", "current month", f"/usage/{now}"
    yield "report", "last month", f"/usage/{recent}"
    yield "report", "old month", f"/usage/{month}"
    deep = UsagePeriod.objects.filter(month=old).count() // 100 or 1
    yield "report", f"old month, page {deep}", f"/usage/{month}&page={deep}"
    yield "report", "status interval", f"/usage/{month}&status=interval"
    yield "report", "status final", f"/usage/{month}&status=final"
    yield "report", "search", f"/usage/{month}&q=birch+h+company+4"
    yield "report", "search, one customer", f"/usage/{month}&q=crm-4711"
    yield "report", "connection", f"/usage/{month}&connection={connection}"
    yield "report", "overage only", f"/usage/{month}&only=over"
    yield "report", "sorted by name", f"/usage/{month}&sort=name"
    yield "report", "sorted by status", f"/usage/{month}&sort=status"
    yield "report", "by customer", f"/usage/{month}&group=customer"
    batch = Ledger.objects.values_list("last", flat=True).get(pk=1)
    yield "as of", "as of, last month", f"/usage/as-of/{recent}&at={batch - 150}"
    yield "as of", "as of, old month", f"/usage/as-of/{month}&at={batch - 150}"
    yield "as of", "as of, open month", f"/usage/as-of/{now}&at={batch - 150}"
    yield "as of", "changes, last month", f"/usage/changes/{recent}&since={batch - 250}&until={batch}"


def measure_pages(last: date) -> list[str]:
    """Print the times of each page; return those above their limit."""
    from django.test import Client

    from billing.models import UsagePeriod
    from tests.support.factories import UserFactory
    from tests.support.people import sign_in

    client = sign_in(Client(), UserFactory(role="admin"))
    old = (last - timedelta(days=200)).replace(day=1)

    def floor() -> None:
        list(UsagePeriod.objects.filter(month=old, account__gt=0).order_by("month", "account")[:50])

    slow = []
    for group, name, address in pages(last):
        page, least = Timing(), Timing()
        for n in range(ROUNDS + 1):
            if n == 1:  # the first one warmed up
                page, least = Timing(), Timing()
            measured(floor, least)
            measured(lambda: _get(client, address), page)
        mark = "" if page.work <= LIMITS[group] else f"  ABOVE {LIMITS[group]} ms"
        print(
            f"{group:7} {name:22} {page}  {page.work / least.work:5.1f} x floor ({least.work:.1f} ms){mark}", flush=True
        )
        if mark:
            slow.append(name)
    return slow


def _get(client: Any, address: str) -> None:
    answer = client.get(address)
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}")
    for _ in getattr(answer, "streaming_content", ()):
        pass


@contextmanager
def timed(module: str, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the time spent in a function, on the processors of both processes."""
    from importlib import import_module

    real = getattr(import_module(module), name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        at = process_time() + _database_seconds()
        try:
            return real(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + process_time() + _database_seconds() - at

    with patch(f"{module}.{name}", wrapped):
        yield


def measure_upkeep(last: date) -> float:
    """Write a night's readings of changed accounts, print and return the share of it that roll-ups take."""
    from django.db import transaction

    from billing.models import UsagePeriod
    from billing.usage.snapshots import AccountReading, store_readings
    from portal.providers import Usage, UsageSource

    periods = UsagePeriod.objects.filter(status="open", month=last, account__connection__kind="sendgrid")
    rows = list(periods.select_related("account", "current").order_by("account__public_id")[:CHANGED])
    readings = [
        AccountReading(
            row.account_id,
            Usage(
                source=UsageSource.CREDITS,
                used=row.used + 17,
                allowed=row.allowed,
                remaining=max(0, row.allowed - row.used - 17),
                overage=max(0, row.used + 17 - row.allowed),
                period_start_on=row.start_on,
                period_end_on=row.end_on,
            ),
            row.read_at + timedelta(hours=5),
            row.package,
        )
        for row in rows
    ]
    spent: dict[str, float] = {}
    with transaction.atomic():
        begun = process_time() + _database_seconds()
        with timed("billing.usage.rollups", "refresh", spent), timed("billing.usage.snapshots", "next_batch", spent):
            for start in range(0, len(readings), TOGETHER):
                store_readings(readings[start : start + TOGETHER], run=None)
        total = process_time() + _database_seconds() - begun
        transaction.set_rollback(True)
    share = spent["refresh"] / total
    print(
        f"upkeep: {len(readings):,} changed accounts in {total:.1f} s, {total / len(readings) * 1000:.2f} ms each;"
        f" roll-ups {spent['refresh']:.2f} s = {share:.1%}, batch numbers {spent['next_batch'] / total:.1%}",
        flush=True,
    )
    return share


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--accounts", type=int, default=100_000)
    options.add_argument("--months", type=int, default=24)
    options.add_argument("--database-url", default="")
    chosen = options.parse_args(arguments)
    server = None if chosen.database_url else Postgres()
    try:
        if server:
            server.start()
        use_database(chosen.database_url or server.url)  # type: ignore[union-attr]
        from django.core.management import call_command
        from django.db import connection, transaction
        from django.test.utils import setup_test_environment

        setup_test_environment()
        last = date.today().replace(day=1)
        if server:
            call_command("migrate", verbosity=0)
            call_command("createcachetable", verbosity=0)
            seed(accounts=chosen.accounts, months=chosen.months, last=last)
        with transaction.atomic():
            slow = measure_pages(last)
            share = measure_upkeep(last)
            transaction.set_rollback(True)
        connection.close()
    finally:
        if server:
            server.remove()
    if slow or share > UPKEEP_LIMIT:
        print(f"too slow: {', '.join(slow) or 'no page'}; roll-ups {share:.1%} of at most {UPKEEP_LIMIT:.0%}")
    return int(bool(slow) or share > UPKEEP_LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
