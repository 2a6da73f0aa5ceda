"""Heartbeats of the processes, waiting work of each kind, and alerts about both, for the page "System status". Nothing
here changes an operation.

The scheduler's is written when a worker receives its tick: it shows that
both are alive. A worker's is written by its main process while it is connected to the broker, busy or idle, and names
the queues it consumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.db.models import Count, F, Min, Q, QuerySet
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from customers.models import AccountImport, Heartbeat, Operation, Schedule
from customers.models.breaker import at_work
from customers.models.operation_states import OperationState
from customers.models.remote_account import Scan
from customers.models.watch import SILENT
from customers.operations import transitions
from portal import queue_settings
from portal.clock import local_skew
from portal.formats import span_text
from portal.notices import raising as notices
from portal.queue import enqueue_on_commit
from portal.queue_settings import Queue

SCHEDULER = "scheduler"
# A worker's heartbeat is written this often at most.
EVERY = timedelta(seconds=30)
# How often a message goes through each queue to see how long it waits; one that may have been lost is sent again.
PROBE = "customers.probe_queue"
PROBE_EVERY, PROBE_AGAIN = timedelta(seconds=15), timedelta(minutes=1)
# Ticks this close together are one. The scheduler sends one every five seconds.
AT_ONCE = timedelta(seconds=2)
# After that a process counts as permanently gone, and its row is deleted.
FORGOTTEN = timedelta(days=1)
# Clocks that differ by no more than this are right.
CLOCKS_AGREE = timedelta(seconds=5)
QUEUE_STOPPED = "queue.stopped"
QUEUE_LATE = "queue.late"
SAME_NAME = "workers.same_name"
Clock = Callable[[], datetime]


# --- Heartbeats ---------------------------------------------------------------------------------------------------


def record_tick(*, now: datetime) -> bool:
    """Record the scheduler's tick, and return whether to act upon it. Ticks that piled up while no worker ran come all
    at once, and one of them counts. After a standstill the scheduler counts as just started."""
    mine = Heartbeat.objects.filter(kind=Heartbeat.Kind.SCHEDULER, name=SCHEDULER)
    mine.filter(seen_at__lt=now - SILENT).update(started_at=now)
    a_while_ago = Q(seen_at__lte=now - AT_ONCE) | Q(seen_at__gt=now)  # a clock may have been set back
    if mine.filter(a_while_ago).update(seen_at=now):
        return True
    signs = {"started_at": now, "seen_at": now}
    return Heartbeat.objects.get_or_create(kind=Heartbeat.Kind.SCHEDULER, name=SCHEDULER, defaults=signs)[1]


@dataclass
class WorkerProcess:
    """The worker in this process, which reports its heartbeat."""

    name: str
    clock_skew: Callable[[], float] = local_skew
    instance: str = field(default_factory=lambda: uuid4().hex)
    started_at: datetime | None = None
    _reported_at: datetime | None = None
    _ended: bool = False

    def report(self, *, queues: Iterable[str], now: datetime, processes: int | None = None) -> None:
        """Write the heartbeat, once in `EVERY` at most. `processes`: how many tasks it runs at a time. `now` is by the
        clock of this machine, and is stored by the database's. The first one replaces what earlier processes of this
        name left behind; another one that is still alive comes back with its next heartbeat, and is detected by that.
        """
        if self._ended or (self._reported_at and self._reported_at <= now < self._reported_at + EVERY):
            return
        self._reported_at = now  # first, so that a database that is down is not queried every two seconds
        skew = round(self.clock_skew())
        seen_at = now - timedelta(seconds=skew)
        if self.started_at is None:
            self._workers().filter(name=self.name[:200]).delete()
            self.started_at = seen_at
        self._workers().update_or_create(
            kind=Heartbeat.Kind.WORKER,
            name=self.name[:200],
            instance=self.instance,
            defaults={
                "started_at": self.started_at,
                "seen_at": seen_at,
                "queues": sorted(queues),
                "processes": processes,
                "clock_skew": skew,
            },
        )

    def end(self, *, now: datetime) -> None:
        """Record that the process was told to end, so that it is not reported missing; its queues may be."""
        self._ended = True
        self._workers().filter(name=self.name[:200], instance=self.instance).update(ended_at=now)

    def _workers(self) -> QuerySet[Heartbeat]:
        return Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER)


# --- Queues -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QueueState:
    """The consumers of a queue. `consumed_at` is when a worker last reported to consume it; None: not for a day.
    `delay` is how long the last message that was sent through it waited, or waits; None: none was sent yet."""

    queue: Queue
    workers: list[str]
    processes: int
    consumed_at: datetime | None
    stopped: bool
    delay: timedelta | None

    @property
    def late(self) -> bool:
        return self.delay is not None and self.delay > self.queue.late_after

    @property
    def delay_text(self) -> str:
        return span_text(self.delay) if self.delay is not None else ""


def heartbeats(*, now: datetime) -> list[Heartbeat]:
    """Return the heartbeats of the last day, and those of the queues."""
    return list(Heartbeat.objects.filter(Q(seen_at__gte=now - FORGOTTEN) | Q(kind=Heartbeat.Kind.QUEUE)))


def queue_states(rows: list[Heartbeat], *, now: datetime) -> list[QueueState]:
    """Return every queue of the portal, by these heartbeats.

    A queue has stopped when no worker reported for `SILENT` that it consumes it, unless the scheduler has only just
    started: workers may still be starting.
    """
    just_started = any(row.kind == Heartbeat.Kind.SCHEDULER and row.started_at > now - SILENT for row in rows)
    return [_queue_state(queue, rows, just_started=just_started, now=now) for queue in queue_settings.QUEUES]


def _queue_state(queue: Queue, rows: list[Heartbeat], *, just_started: bool, now: datetime) -> QueueState:
    consumers = [row for row in rows if queue.name in (row.queues or ())]
    alive = [row for row in consumers if is_alive(row, now=now)]
    consumed_at = max((row.seen_at for row in consumers), default=None)
    recently = consumed_at is not None and now - consumed_at <= SILENT
    probe = next((row for row in rows if row.kind == Heartbeat.Kind.QUEUE and row.name == queue.name), None)
    return QueueState(
        queue=queue,
        workers=[row.name for row in alive],
        processes=sum(row.processes or 1 for row in alive),
        consumed_at=consumed_at,
        stopped=not alive and not recently and not just_started,
        delay=_delay(probe, now=now) if probe else None,
    )


def _delay(probe: Heartbeat, *, now: datetime) -> timedelta:
    taken_up = probe.seen_at >= probe.started_at
    return (probe.seen_at if taken_up else max(now, probe.started_at)) - probe.started_at


def probe_queues(*, now: datetime) -> None:
    """Send a message through each queue, one at a time: its waiting time is the queue's. One that did not arrive is
    sent again now and then, and its time counts from the first."""
    now = now.replace(microsecond=0)
    for name in queue_settings.NAMES:
        times = {"started_at": now, "ended_at": now, "seen_at": now - PROBE_EVERY}
        probe, first = Heartbeat.objects.get_or_create(kind=Heartbeat.Kind.QUEUE, name=name, defaults=times)
        mine = Heartbeat.objects.filter(pk=probe.pk, started_at=probe.started_at)
        if probe.seen_at >= probe.started_at:
            sent = mine.filter(started_at__lte=now - PROBE_EVERY).update(started_at=now, ended_at=now)
            probe.started_at = now
        else:
            sent = mine.filter(ended_at__lte=now - PROBE_AGAIN).update(ended_at=now)
        if first or sent:
            enqueue_on_commit(PROBE, probe.pk, int(probe.started_at.timestamp()), queue=name)


def probe_arrived(heartbeat_id: int, sent_id: int, *, now: datetime) -> None:
    """Record that a worker received the message. `sent_id` is the time it was first sent, to tell it from an earlier
    one."""
    started_at = datetime.fromtimestamp(sent_id, UTC)
    mine = Heartbeat.objects.filter(pk=heartbeat_id, kind=Heartbeat.Kind.QUEUE, started_at=started_at)
    mine.filter(seen_at__lt=F("started_at")).update(seen_at=max(now, started_at))


def is_alive(row: Heartbeat, *, now: datetime) -> bool:
    return row.ended_at is None and now - row.seen_at <= SILENT


def names_used_twice(rows: list[Heartbeat], *, now: datetime) -> list[str]:
    """Return the names under which more than one worker is alive."""
    workers = [row for row in rows if row.kind == Heartbeat.Kind.WORKER]
    counted = Counter(row.name for row in workers if is_alive(row, now=now))
    return sorted(name for name, n in counted.items() if n > 1)


@dataclass(frozen=True)
class Alarm:
    """A problem to check: "danger" or "warn", a sentence, and its meaning."""

    kind: str
    title: str
    text: str
    path: str = ""


def check_workers(*, now: datetime) -> None:
    """Alert the admins when no worker consumes a queue, when messages wait too long in one, or when two workers have
    one name; end alerts that are over."""
    rows = heartbeats(now=now)
    for state in queue_states(rows, now=now):
        if state.stopped or state.workers:
            tell(QUEUE_STOPPED, stopped_alarm(state), about=state.queue.name, now=now)
        tell(QUEUE_LATE, late_alarm(state), about=state.queue.name, now=now)
    tell(SAME_NAME, same_name_alarm(names_used_twice(rows, now=now)), about=SAME_NAME, now=now)


def tell(kind: str, alarm: Alarm | None, *, about: str, now: datetime) -> None:
    """Raise the notice of an alarm, or end it where there is none."""
    if alarm:
        path = reverse("customers:watch")
        notices.raised(kind, about=about, title=alarm.title, text=alarm.text, path=path, now=now)
    else:
        notices.ended(kind, about=about, now=now)


def stopped_alarm(state: QueueState) -> Alarm | None:
    if not state.stopped:
        return None
    named = {"effect": state.queue.if_stopped, "queue": state.queue.name}
    return Alarm(
        "danger",
        gettext("No worker consumes the %(queue)s queue") % named,
        gettext("%(effect)s Start a worker with -Q %(queue)s, or check the worker's log.") % named,
    )


def late_alarm(state: QueueState) -> Alarm | None:
    if state.stopped or not state.late:
        return None
    return Alarm(
        "warn",
        gettext("Messages in the %(queue)s queue are delayed by %(span)s")
        % {"queue": state.queue.name, "span": state.delay_text},
        gettext(
            "Messages arrive faster than the workers can process them. Check the worker logs, or start more "
            "processes (-c)."
        ),
    )


def same_name_alarm(names: list[str]) -> Alarm | None:
    if not names:
        return None
    return Alarm(
        "warn",
        gettext("More than one worker is named %(names)s") % {"names": ", ".join(names)},
        gettext("Celery's remote control can't tell them apart. Give each worker a unique name with -n."),
    )


# --- Waiting work -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """The amount of one kind of work. `due` could begin now, the oldest of it since `oldest_at`; `running` is leased by
    a worker; `expired` was, and the lease ran out. `route` is the page that shows it, `code` its name in metrics."""

    code: str
    label: str | Promise
    due: int
    oldest_at: datetime | None
    running: int
    expired: int
    route: str


_ALSO: list[Callable[[datetime], Work]] = []


def also_look_at(work: Callable[[datetime], Work]) -> None:
    """Register a kind of work of an app above this one, counted in a fixed number of queries."""
    if work not in _ALSO:
        _ALSO.append(work)


def all_work(*, now: datetime) -> list[Work]:
    """Return the work of every kind. An operation that waits for another one of its account is not due before that one
    is done; a scheduled change is never leased, for taking one is a moment."""
    free = Q(lease_until=None, not_before__lte=now)
    operations = Operation.objects.filter(state__in=(OperationState.CLAIMED, OperationState.SENDING))
    unknown = Operation.objects.filter(at_work("connection__"), state=OperationState.UNKNOWN)
    scans = Scan.objects.filter(state=Scan.State.RUNNING)
    not_started = Q(taken_at=None) & ~Q(kind=Scan.Kind.UNKNOWN)
    imports = AccountImport.objects.filter(state=AccountImport.State.RUNNING)
    changes = Schedule.objects.filter(state=Schedule.State.WAITING, due_at__lte=now)
    work_of = partial(_work_of, now=now)
    return [
        work_of("operations", _("Operations"), "customers:operations", transitions.ready(now=now), operations),
        work_of("unknown", _("Unknown outcomes to verify"), "customers:operations", unknown.filter(free), unknown),
        work_of(
            "scans",
            _("Account list scans"),
            "customers:drift",
            scans.filter(not_started),
            scans.exclude(not_started),
            since="started_at",
        ),
        work_of("imports", _("Account imports"), "customers:orphans", imports.filter(free), imports),
        work_of("schedules", _("Scheduled changes"), "customers:coming", changes, since="due_at"),
        *(work(now) for work in _ALSO),
    ]


def _work_of(
    code: str,
    label: str | Promise,
    route: str,
    due: QuerySet[Any],
    leased: QuerySet[Any] | None = None,
    *,
    now: datetime,
    since: str = "not_before",
) -> Work:
    """Count the rows that are due since the time in a column, and those that workers leased."""
    found = {"running": 0, "expired": 0} | due.aggregate(due=Count("pk"), oldest_at=Min(since))
    if leased is not None:
        running, expired = Q(lease_until__gte=now), Q(lease_until__lt=now)
        found |= leased.aggregate(running=Count("pk", filter=running), expired=Count("pk", filter=expired))
    return Work(code=code, label=label, route=route, **found)
