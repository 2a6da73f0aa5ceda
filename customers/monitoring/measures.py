"""Metrics that the tables of this app give (`portal.metrics`), in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

from django.db.models import Count, Q, Sum

from customers.models import Account, Connection, Heartbeat, InvariantCheck, Operation
from customers.models.operation_states import OPEN
from customers.monitoring import heartbeat
from customers.operations.queries import NEEDS_A_PERSON
from portal import metrics
from portal.installation import archive
from portal.metrics import Measure
from portal.notices.models import Notice


def read_customers(now: datetime) -> Iterator[Measure]:
    return chain(_operations(), _work(now), _processes(now), _connections(), _findings())


def _operations() -> Iterator[Measure]:
    rows = Operation.objects.order_by().filter(state__in=OPEN).values_list("kind", "state")
    for kind, state, n, review in rows.annotate(n=Count("pk"), review=Count("pk", filter=NEEDS_A_PERSON)):
        yield metrics.OPERATIONS.at(n, kind, state)
        if review:
            yield metrics.NEEDS_REVIEW.at(review, f"operation.{kind}")
    late = Account.objects.filter(usage_is_late=True, duplicate_of=None)
    yield metrics.USAGE_LATE.at(late.order_by().count())


def _work(now: datetime) -> Iterator[Measure]:
    for each in heartbeat.all_work(now=now):
        yield metrics.WORK_DUE.at(each.due, each.code)
        yield metrics.WORK_RUNNING.at(each.running, each.code)
        yield metrics.LEASES_EXPIRED.at(each.expired, each.code)
        if each.oldest_at:
            yield metrics.WORK_OLDEST.at(each.oldest_at, each.code)


def _processes(now: datetime) -> Iterator[Measure]:
    rows = heartbeat.heartbeats(now=now)
    for queue in heartbeat.queue_states(rows, now=now):
        name = queue.queue.name
        yield metrics.QUEUE_WORKERS.at(len(queue.workers), name)
        yield metrics.QUEUE_PROCESSES.at(queue.processes, name)
        if queue.delay is not None:
            yield metrics.QUEUE_DELAY.at(queue.delay.total_seconds(), name)
    seen = [row.seen_at for row in rows if row.kind == Heartbeat.Kind.SCHEDULER]
    yield metrics.SCHEDULER_SEEN.at(max(seen, default=None))
    workers = [row for row in rows if row.kind == Heartbeat.Kind.WORKER and row.ended_at is None]
    alive = [row for row in workers if heartbeat.is_alive(row, now=now)]
    yield metrics.WORKERS.at(len(alive), "alive")
    yield metrics.WORKERS.at(len(workers) - len(alive), "silent")
    yield metrics.CLOCK_SKEW.at(max((abs(row.clock_skew) for row in alive), default=0))


def _connections() -> Iterator[Measure]:
    rows = Connection.objects.order_by().values_list("kind", "paused")
    is_open = Count("pk", filter=Q(breaker__opened_at__isnull=False))
    quota, broken = dict[str, int](), dict[str, int]()
    for kind, paused, n, opened, rate in rows.annotate(n=Count("pk"), opened=is_open, rate=Sum("requests_per_minute")):
        yield metrics.CONNECTIONS.at(n, kind, paused or "no")
        broken[kind] = broken.get(kind, 0) + opened
        quota[kind] = quota.get(kind, 0) + (rate if paused in Connection.READABLE else 0)
    for kind, n in broken.items():
        yield metrics.BREAKERS_OPEN.at(n, kind)
        yield metrics.QUOTA.at(quota[kind], kind)


def _findings() -> Iterator[Measure]:
    for kind, n in Notice.objects.order_by().filter(ended_at=None).values_list("kind").annotate(n=Count("pk")):
        yield metrics.ALERTS.at(n, kind)
    check = InvariantCheck.objects.exclude(finished_at=None).defer("found").first()
    yield metrics.CHECKED.at(check.finished_at if check else None)
    yield metrics.CHECKS_FAILED.at(check.broken if check else None)
    last = archive.last_good()
    yield metrics.BACKUP.at(last.finished_at if last else None)
