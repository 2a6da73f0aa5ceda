"""Every metric of the portal, declared once. Reference: docs/reference/metrics.md.

`Counter` and `Histogram` are counted by web and worker processes alike, in files of `DATA_DIR/metrics` that whoever
serves the metrics adds up. `Stored` metrics are read from the database at each scrape, by collectors that the apps
register. No label has a value that people or providers choose: no names, no IDs, no paths.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import Error
from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)
FOLDER = settings.DATA_DIR / "metrics"


# --- The files of the processes ------------------------------------------------------------------------------------

_slots: dict[int, int] = {}  # of this process, and of those it was forked from


def _slot() -> int:
    """Return the number of this process's files. It is free again when the process has ended, and the next process
    counts on in the same files: their number stays small, and no counter goes back."""
    if (me := os.getpid()) not in _slots:
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (FOLDER / "all.lock").open("wb") as everyone:
            fcntl.flock(everyone, fcntl.LOCK_EX)
            _slots[me] = next(number for number in count() if _lock(FOLDER / f"{number}.lock") is not None)
            _begin_anew_if_alone(_slots[me])
    return _slots[me]


def _lock(path: Path) -> int | None:
    """Lock a file until this process ends or closes it, and return its descriptor; None if another process holds it.
    The system forgets this kind of lock in forked processes."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def _begin_anew_if_alone(mine: int) -> None:
    """Remove the files where no other process is alive: they may be of another version, or cut off by a power loss."""
    others = [_lock(path) for path in FOLDER.glob("[0-9]*.lock") if path.stem != str(mine)]
    if None not in others:
        for path in FOLDER.glob("*.db"):
            path.unlink()
    for file in others:
        if file is not None:
            os.close(file)


_slot()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(FOLDER)
values.ValueClass = values.MultiProcessValue(_slot)  # type: ignore[no-untyped-call]  # the library's own

# --- Counted by processes ------------------------------------------------------------------------------------------

# The files hold the values: nothing is read from the library's own registry.
_declared = CollectorRegistry()
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)

REQUESTS = Counter(
    "postkeeper_requests", "Answered requests to the portal.", ("route", "method", "status"), registry=_declared
)
REQUEST_SECONDS = Histogram(
    "postkeeper_request_seconds", "Time to answer a request.", ("route",), buckets=SECONDS, registry=_declared
)
PROVIDER_CALLS = Counter(
    "postkeeper_provider_calls", "Requests sent to providers.", ("kind", "endpoint", "outcome"), registry=_declared
)
PROVIDER_SECONDS = Histogram(
    "postkeeper_provider_seconds",
    "Time until a provider answered.",
    ("kind", "endpoint"),
    buckets=SECONDS,
    registry=_declared,
)
ATTEMPTS = Counter("postkeeper_attempts", "Sends of operations.", ("kind", "outcome"), registry=_declared)
STEPS = Counter("postkeeper_operation_steps", "Operations that entered a state.", ("kind", "state"), registry=_declared)
SLOW_QUERIES = Counter(
    "postkeeper_slow_queries", "Statements slower than SLOW_QUERY_MS.", ("statement",), registry=_declared
)
COUNTED = (REQUESTS, REQUEST_SECONDS, PROVIDER_CALLS, PROVIDER_SECONDS, ATTEMPTS, STEPS, SLOW_QUERIES)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count_request(*, route: str, method: str | None, status: int, seconds: float) -> None:
    REQUESTS.labels(route, method if method in _METHODS else "other", f"{status // 100}xx").inc()
    REQUEST_SECONDS.labels(route).observe(seconds)


def count_provider_call(*, kind: str, endpoint: str, status: int | None, failure: str, seconds: float) -> None:
    """Count an exchange. One that failed before the provider answered has no status class but "failed"."""
    outcome = "failed" if failure or status is None else "429" if status == 429 else f"{status // 100}xx"
    PROVIDER_CALLS.labels(kind, endpoint, outcome).inc()
    PROVIDER_SECONDS.labels(kind, endpoint).observe(seconds)


# --- Read from the database ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """A gauge that is read at each scrape. A moment is in seconds since 1970, 0 for one that never was."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    def at(self, value: float | datetime | None, *labels: str) -> Measure:
        """Return one value of it."""
        number = value.timestamp() if isinstance(value, datetime) else float(value or 0)
        return Measure(self, labels, number)


class Measure(NamedTuple):
    metric: Stored
    labels: tuple[str, ...]
    value: float


DATABASE_UP = Stored("postkeeper_database_up", "1 if the database answered this scrape.")
OPERATIONS = Stored("postkeeper_operations", "Operations that aren't finished.", ("kind", "state"))
NEEDS_REVIEW = Stored("postkeeper_needs_review", "What waits for a decision.", ("subject",))
WORK_DUE = Stored("postkeeper_work_due", "Work that could begin now.", ("work",))
WORK_OLDEST = Stored(
    "postkeeper_work_oldest_due_timestamp_seconds", "Since when the oldest due work is due.", ("work",)
)
WORK_RUNNING = Stored("postkeeper_work_running", "Work that a worker holds.", ("work",))
LEASES_EXPIRED = Stored("postkeeper_leases_expired", "Work whose worker didn't return.", ("work",))
QUEUE_WORKERS = Stored("postkeeper_queue_workers", "Workers that consume a queue.", ("queue",))
QUEUE_PROCESSES = Stored("postkeeper_queue_processes", "Tasks that a queue's workers run at a time.", ("queue",))
QUEUE_DELAY = Stored("postkeeper_queue_delay_seconds", "How long a queue's last test message waited.", ("queue",))
SCHEDULER_SEEN = Stored("postkeeper_scheduler_timestamp_seconds", "Last heartbeat of the scheduler.")
WORKERS = Stored("postkeeper_workers", "Workers by whether their heartbeat is recent.", ("state",))
CLOCK_SKEW = Stored("postkeeper_clock_skew_seconds", "Greatest difference of a worker's clock from the database's.")
CONNECTIONS = Stored("postkeeper_connections", "Connections, by why they are paused.", ("kind", "paused"))
BREAKERS_OPEN = Stored("postkeeper_breakers_open", "Connections whose provider is unreachable.", ("kind",))
QUOTA = Stored("postkeeper_provider_quota_per_minute", "Requests per minute that connections may send.", ("kind",))
ALERTS = Stored("postkeeper_alerts_open", "Admin notifications that aren't resolved.", ("alert",))
CHECKED = Stored("postkeeper_integrity_check_timestamp_seconds", "When the last integrity check ended.")
CHECKS_FAILED = Stored("postkeeper_integrity_checks_failed", "Failed checks of the last integrity check.")
USAGE_LATE = Stored("postkeeper_accounts_usage_late", "Accounts whose usage is older than 36 hours.")
SYNC_ACCOUNTS = Stored(
    "postkeeper_sync_accounts", "Accounts of each connection's last full usage sync.", ("kind", "state")
)
SYNC_ENDED = Stored(
    "postkeeper_sync_timestamp_seconds", "When the connection that waits longest last ended a full sync.", ("kind",)
)
BACKUP = Stored("postkeeper_backup_timestamp_seconds", "When the last good backup ended.")
STORED = tuple(each for each in list(vars().values()) if isinstance(each, Stored))

Collect = Callable[[datetime], Iterator[Measure]]
_COLLECTORS: list[Collect] = []


def also_collect(collect: Collect) -> None:
    """Register what an app reads for its metrics, in a fixed number of queries."""
    if collect not in _COLLECTORS:
        _COLLECTORS.append(collect)


class _Database(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = timezone.now()
        try:
            found = [reading for collect in _COLLECTORS for reading in collect(now)]
        except Error as error:
            log.warning("metrics.database_unread", error=type(error).__name__)
            found = []
        families = {each: GaugeMetricFamily(each.name, each.documentation, labels=each.labels) for each in STORED}
        for metric, labels, value in [DATABASE_UP.at(bool(found)), *found]:
            families[metric].add_metric(labels, value)
        yield from families.values()


def exposition(*, database: bool) -> bytes:
    """Return all metrics in Prometheus' text format; those of the database where `database` is set."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(FOLDER))  # type: ignore[no-untyped-call]  # the library's own
    if database:
        registry.register(_Database())
    return generate_latest(registry)
