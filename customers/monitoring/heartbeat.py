"""Heartbeats of the processes, the waiting work of each kind, and alerts about both. Read by the page "Engine"; nothing
here moves an operation.

A heartbeat shows no more than it can prove. The scheduler's is written when a worker receives its tick: it shows that
both are alive. A worker's is written by its main process while it is connected to the broker, busy or idle, and names
the queues it consumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
    at once, and one of them counts. After a standstill the scheduler counts as started anew."""
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


def check_workers(*, now: datetime) -> None:
    """Alert the admins when no worker consumes a queue, when messages wait too long in one, or when two workers have
    one name; end alerts that are over."""
    rows, path = heartbeats(now=now), reverse("customers:watch")
    for state in queue_states(rows, now=now):
        name = state.queue.name
        if state.stopped:
            title = queue_stopped_title(name)
            notices.raised(QUEUE_STOPPED, about=name, title=title, text=queue_stopped_text(state), path=path, now=now)
        elif state.workers:
            notices.ended(QUEUE_STOPPED, about=name, now=now)
        if state.late and not state.stopped:
            title, text = queue_late_title(state), queue_late_text(state)
            notices.raised(QUEUE_LATE, about=name, title=title, text=text, path=path, now=now)
        else:
            notices.ended(QUEUE_LATE, about=name, now=now)
    if names := names_used_twice(rows, now=now):
        title, text = same_name_title(names), same_name_text()
        notices.raised(SAME_NAME, about=SAME_NAME, title=title, text=text, path=path, now=now)
    else:
        notices.ended(SAME_NAME, about=SAME_NAME, now=now)


def queue_stopped_title(name: str) -> str:
    return gettext("No worker consumes the queue %(queue)s") % {"queue": name}


def queue_stopped_text(state: QueueState) -> str:
    return gettext("%(effect)s Start a worker with -Q %(queue)s, or check its log.") % {
        "effect": state.queue.if_stopped, "queue": state.queue.name,
    }  # fmt: skip


def queue_late_title(state: QueueState) -> str:
    return gettext("Messages in the queue %(queue)s wait for %(span)s") % {
        "queue": state.queue.name, "span": state.delay_text,
    }  # fmt: skip


def queue_late_text(state: QueueState) -> str:
    return gettext("More arrives than its workers can process. Check their logs, or start more processes (-c).")


def same_name_title(names: list[str]) -> str:
    return gettext("More than one worker is named %(names)s") % {"names": ", ".join(names)}


def same_name_text() -> str:
    return gettext("Celery's remote control can't tell them apart. Give each worker a name of its own with -n.")


# --- Waiting work -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """The amount of one kind of work. `due` could begin now, the oldest of it since `oldest_at`; `running` is leased by
    a worker; `expired` was, and the lease ran out. `route` is the page that shows it."""

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
    return [
        _operations(now),
        _settling(now),
        _walks(now),
        _account_imports(now),
        _schedules(now),
        *(work(now) for work in _ALSO),
    ]


def _operations(now: datetime) -> Work:
    """Count operations. One that waits for another operation of its account is not due before that one is done."""
    due = transitions.ready(now=now).order_by("not_before")
    held = Operation.objects.filter(state__in=(OperationState.CLAIMED, OperationState.SENDING))
    return Work(
        _("Operations"), due.count(), due.values_list("not_before", flat=True).first(),
        held.filter(lease_until__gte=now).count(), held.filter(lease_until__lt=now).count(), "customers:operations",
    )  # fmt: skip


def _settling(now: datetime) -> Work:
    """Count unknown outcomes that are verified automatically."""
    unknown = Operation.objects.filter(at_work("connection__"), state=OperationState.UNKNOWN)
    due = unknown.filter(lease_until=None, not_before__lte=now).order_by("not_before")
    return Work(
        _("Unknown outcomes to look into"), due.count(), due.values_list("not_before", flat=True).first(),
        unknown.filter(lease_until__gte=now).count(), unknown.filter(lease_until__lt=now).count(),
        "customers:operations",
    )  # fmt: skip


def _walks(now: datetime) -> Work:
    """Count scans of a provider's list: requested and not started yet, or running."""
    walks = Scan.objects.filter(state=Scan.State.RUNNING)
    due = walks.filter(taken_at=None).exclude(kind=Scan.Kind.UNKNOWN).order_by("started_at")
    held = walks.exclude(taken_at=None, kind__in=(Scan.Kind.NIGHTLY, Scan.Kind.ASKED))
    return Work(
        _("Walks through a provider's list"), due.count(), due.values_list("started_at", flat=True).first(),
        held.filter(lease_until__gte=now).count(), held.filter(lease_until__lt=now).count(), "customers:drift",
    )  # fmt: skip


def _account_imports(now: datetime) -> Work:
    runs = AccountImport.objects.filter(state=AccountImport.State.RUNNING)
    due = runs.filter(lease_until=None, not_before__lte=now).order_by("not_before")
    return Work(
        _("Existing accounts to take over"), due.count(), due.values_list("not_before", flat=True).first(),
        runs.filter(lease_until__gte=now).count(), runs.filter(lease_until__lt=now).count(), "customers:orphans",
    )  # fmt: skip


def _schedules(now: datetime) -> Work:
    """Count scheduled changes whose time has come. Taking one is a moment, so none is leased."""
    due = Schedule.objects.filter(state=Schedule.State.WAITING, due_at__lte=now)
    found = due.aggregate(n=Count("pk"), oldest=Min("due_at"))
    return Work(_("Changes of the calendar"), found["n"], found["oldest"], 0, 0, "customers:coming")
