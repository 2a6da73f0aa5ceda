"""Usage reports, and the upkeep of roll-ups, on a seeded PostgreSQL database.

Each page is requested once to warm up and then five times; the median counts. What counts is the time on the processor
of this process and of the database's together: the answer of an idle machine, whatever else runs. A machine's speed
drops out of the ratio to the floor, which is one indexed query of 50 rows in the same round. Nothing is left changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib import import_module
from time import process_time
from typing import Any
from unittest.mock import patch

from django.db import transaction
from django.test import Client

from billing.models import Ledger, UsagePeriod
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Connection
from portal.demo.seed.plan import BATCHES
from portal.providers import Usage, UsageSource
from tests.bench.results import Row
from tests.bench.timing import Timing, database_seconds, get, measured
from tests.support.factories import UserFactory
from tests.support.people import sign_in

ROUNDS = 5
# Milliseconds of server time: the limit of each group of pages.
LIMITS = {"report": 100, "as of": 300}
CHANGED, TOGETHER = 2_000, 1_000
UPKEEP_LIMIT = 0.10


def pages(last: date) -> Iterator[tuple[str, str, str]]:
    """Yield group, name and address of each page to measure."""

    old = (last - timedelta(days=200)).replace(day=1)
    before = (last - timedelta(days=1)).replace(day=1)
    chosen = Connection.objects.filter(kind="sendgrid").order_by("pk")[0].public_id
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
    yield "report", "connection", f"/usage/{month}&connection={chosen}"
    yield "report", "overage only", f"/usage/{month}&only=over"
    yield "report", "sorted by name", f"/usage/{month}&sort=name"
    yield "report", "sorted by status", f"/usage/{month}&sort=status"
    yield "report", "by customer", f"/usage/{month}&group=customer"
    batch = Ledger.objects.values_list("last", flat=True).get(pk=1)
    days = BATCHES * (datetime.now(UTC).date() - last).days  # since the month began
    yield "as of", "as of, last month", f"/usage/as-of/{recent}&at={batch - days}"
    yield "as of", "as of, old month", f"/usage/as-of/{month}&at={batch - days}"
    yield "as of", "as of, open month", f"/usage/as-of/{now}&at={batch - 5 * BATCHES}"
    yield "as of", "changes, last month", f"/usage/changes/{recent}&since={batch - days}&until={batch}"
    yield "as of", "changes, one day", f"/usage/changes/{now}&since={batch - BATCHES}&until={batch}"


def measure_pages(last: date, only: str = "") -> Iterator[Row]:
    """Yield the time of each page beside that of one indexed query of 50 rows."""

    client = sign_in(Client(SERVER_NAME="localhost"), UserFactory(role="admin"))
    old = (last - timedelta(days=200)).replace(day=1)

    def floor() -> None:
        list(UsagePeriod.objects.filter(month=old, account__gt=0).order_by("month", "account")[:50])

    for group, name, address in pages(last):
        if only not in f"usage {group}, {name}":
            continue
        page, least = Timing(), Timing()
        for n in range(ROUNDS + 1):
            if n == 1:  # the first one warmed up
                page, least = Timing(), Timing()
            measured(floor, least)
            measured(partial(get, client, address), page)
        yield Row(
            f"usage {group}, at most {LIMITS[group]} ms", name, page.work, "ms", least.work, None, LIMITS[group],
            "lower", page.spread, page.queries,
        )  # fmt: skip


@contextmanager
def timed(module: str, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the time spent in a function, on the processors of both processes."""

    real = getattr(import_module(module), name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        at = process_time() + database_seconds()
        try:
            return real(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + process_time() + database_seconds() - at

    with patch(f"{module}.{name}", wrapped):
        yield


def measure_upkeep(last: date) -> Iterator[Row]:
    """Write a night's readings of changed accounts, and yield the share of it that roll-ups take."""

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
        begun = process_time() + database_seconds()
        with timed("billing.usage.rollups", "refresh", spent), timed("billing.usage.snapshots", "next_batch", spent):
            for start in range(0, len(readings), TOGETHER):
                store_readings(readings[start : start + TOGETHER], run=None)
        total = process_time() + database_seconds() - begun
        transaction.set_rollback(True)
    share, each = spent["refresh"] / total, total / len(readings) * 1000
    yield Row("upkeep of roll-ups", "share of writing readings", share, "", None, None, UPKEEP_LIMIT, "lower")
    yield Row(
        "upkeep of roll-ups", f"writing of each of {len(readings):,} readings", each, "ms", None, None, None, "lower"
    )
