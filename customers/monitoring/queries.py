"""Queries of the page "Engine". The number of queries does not depend on how much there is to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, OuterRef, Subquery
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from customers.models import Connection, Heartbeat, InvariantCheck, Operation, Scan
from customers.models.breaker import is_out_of_reach
from customers.models.operation_states import OPEN
from customers.monitoring import heartbeat, invariants
from customers.monitoring.heartbeat import QueueState, Work
from customers.operations.queries import NEEDS_A_PERSON
from portal.formats import HOUR, ago_text
from portal.notices.models import Notice

SHOWN = 8
# Due work is taken within seconds; at this age no worker takes it.
LONG_DUE = timedelta(minutes=2)
CHECK_IS_OLD = timedelta(hours=50)


@dataclass(frozen=True)
class HeartbeatRow:
    """A process, and whether its heartbeat is recent."""

    label: str
    name: str
    started_at: datetime
    seen_at: datetime
    silent: bool
    clock_skew: int
    queues: list[str] | None


@dataclass(frozen=True)
class WorkRow:
    work: Work
    late: bool


@dataclass(frozen=True)
class Broken:
    code: str
    holds: str
    rows: list[str]
    more: bool
    error: str


@dataclass(frozen=True)
class Alarm:
    """A problem to look into: `kind` of notice, a sentence, and its meaning."""

    kind: str
    title: str
    text: str


@dataclass(frozen=True)
class SystemStatus:
    now: datetime
    scheduler: HeartbeatRow | None
    workers: list[HeartbeatRow]
    queues: list[QueueState]
    work: list[WorkRow]
    states: list[tuple[str, int]]
    people: list[Operation]
    people_count: int
    connections: list[Connection]
    check: InvariantCheck | None
    broken: list[Broken]
    held: list[invariants.Invariant]
    alarms: list[Alarm]
    told: list[Notice]

    @property
    def people_more(self) -> int:
        return self.people_count - len(self.people)


def system_status(*, now: datetime) -> SystemStatus:
    rows = heartbeat.heartbeats(now=now)
    signs = [_sign(each, now) for each in rows if each.ended_at is None and each.kind != Heartbeat.Kind.QUEUE]
    scheduler = next((each for each in signs if each.name == heartbeat.SCHEDULER), None)
    workers = [each for each in signs if each is not scheduler]
    queues = heartbeat.queue_states(rows, now=now)
    work = [_work(each, now) for each in heartbeat.all_work(now=now)]
    people = Operation.objects.filter(NEEDS_A_PERSON).select_related("account__customer", "connection")
    measured = Scan.objects.filter(connection=OuterRef("pk"), clock_skew__isnull=False).order_by("-pk")
    with_clocks = Connection.objects.annotate(clock_skew=Subquery(measured.values("clock_skew")[:1]))
    connections: list[Connection] = [*with_clocks.select_related("breaker").order_by("name")]
    check = InvariantCheck.objects.exclude(finished_at=None).first()
    broken = _broken(check)
    bad = {each.code for each in broken}
    used_twice = heartbeat.names_used_twice(rows, now=now)
    alarms = [
        *_silence(scheduler, workers),
        *_consumers(workers, queues, used_twice),
        *_clocks(workers, connections),
        *_standing(work),
        *_unreachable(connections),
        *_checked(check, broken, now),
    ]
    return SystemStatus(
        now=now,
        scheduler=scheduler,
        workers=workers,
        queues=queues,
        work=work,
        states=_states(),
        people=list(people.order_by("pk")[:SHOWN]),
        people_count=people.count(),
        connections=connections,
        check=check,
        broken=broken,
        held=[each for each in invariants.registered() if check and each.code not in bad],
        alarms=sorted(alarms, key=lambda each: each.kind != "danger"),
        told=list(Notice.objects.all()[:SHOWN]),
    )


def _states() -> list[tuple[str, int]]:
    """Return how many operations are in each state that is not final."""
    counted = Operation.objects.order_by().filter(state__in=OPEN).values_list("state").annotate(n=Count("pk"))
    found = dict(counted)
    return [(state, found[state]) for state in OPEN if state in found]


def _work(work: Work, now: datetime) -> WorkRow:
    return WorkRow(work, late=bool(work.oldest_at and now - work.oldest_at > LONG_DUE))


def _sign(row: Heartbeat, now: datetime) -> HeartbeatRow:
    return HeartbeatRow(
        str(Heartbeat.Kind(row.kind).label),
        row.name,
        row.started_at,
        row.seen_at,
        not heartbeat.is_alive(row, now=now),
        row.clock_skew,
        row.queues,
    )


def _broken(check: InvariantCheck | None) -> list[Broken]:
    holds = {each.code: str(each.holds) for each in invariants.registered()}
    found: list[dict[str, Any]] = check.found if check else []
    return [
        Broken(each["code"], holds.get(each["code"], ""), each["rows"], each["more"], each["error"])
        for each in found
        if each["rows"] or each["error"]
    ]


# --- Problems to look into --------------------------------------------------------------------------------------------


def _silence(scheduler: HeartbeatRow | None, workers: list[HeartbeatRow]) -> list[Alarm]:
    if all(each.silent for each in workers):
        text = _("Nothing is sent and nothing is read. What was asked waits in the database and is not lost. Start a "
                 "worker, or look at its log.")  # fmt: skip
        return [Alarm("danger", _("No worker gives a sign of life"), text)]
    alarms = []
    if scheduler is None or scheduler.silent:
        text = _("New operations are still sent. What waits for its time, was lost on the way or runs by night is "
                 "not. Start the scheduler, or look at its log.")  # fmt: skip
        alarms.append(Alarm("danger", _("The scheduler does not tick"), text))
    text = _("It ended without saying so, or it hangs. Others take up its work when its lease has run out.")
    for each in workers:
        if each.silent:
            title = _("%(name)s was last heard of %(ago)s") % {"name": each.name, "ago": ago_text(each.seen_at)}
            alarms.append(Alarm("warn", title, text))
    return alarms


def _clocks(workers: list[HeartbeatRow], connections: list[Connection]) -> list[Alarm]:
    """Return machines whose clock differs from the database's, and providers whose clock differed at the last scan."""
    ours = _("Operations are not affected: the database's clock decides. Logs of this machine show the wrong time. "
             "Check its time synchronization.")  # fmt: skip
    theirs = _("New accounts are still found: the difference is measured before each create. Times that the provider "
               "shows differ from ours.")  # fmt: skip
    skews = [(each.name, each.clock_skew, ours) for each in workers]
    skews += [(each.name, getattr(each, "clock_skew", None) or 0, theirs) for each in connections]
    return [Alarm("warn", _skewed(name, skew), text) for name, skew, text in skews if _is_wrong(skew)]


def _is_wrong(skew: int) -> bool:
    return abs(skew) > heartbeat.CLOCKS_AGREE.total_seconds()


def _skewed(name: str, skew: int) -> str:
    n = abs(skew)
    if n >= HOUR:
        text = _("The clock of %(name)s is %(n)d h fast") if skew > 0 else _("The clock of %(name)s is %(n)d h slow")
        return text % {"name": name, "n": n // HOUR}
    if skew > 0:
        text = ngettext("The clock of %(name)s is %(n)d second fast", "The clock of %(name)s is %(n)d seconds fast", n)
    else:
        text = ngettext("The clock of %(name)s is %(n)d second slow", "The clock of %(name)s is %(n)d seconds slow", n)
    return text % {"name": name, "n": n}


def _consumers(workers: list[HeartbeatRow], queues: list[QueueState], used_twice: list[str]) -> list[Alarm]:
    """Return queues without a worker or with old messages, and workers that can't be told apart. Empty where no worker
    is alive at all."""
    if all(each.silent for each in workers):
        return []
    alarms = [
        Alarm("danger", heartbeat.queue_stopped_title(each.queue.name), heartbeat.queue_stopped_text(each))
        for each in queues
        if each.stopped
    ]
    alarms += [
        Alarm("warn", heartbeat.queue_late_title(each), heartbeat.queue_late_text(each))
        for each in queues
        if each.late and not each.stopped
    ]
    if used_twice:
        alarms.append(Alarm("warn", heartbeat.same_name_title(used_twice), heartbeat.same_name_text()))
    return alarms


def _standing(work: list[WorkRow]) -> list[Alarm]:
    alarms = []
    text = _(
        "More comes in than the workers take up, or a provider's pace holds it. More workers help in the first case."
    )
    for each in work:
        if each.late and each.work.oldest_at:
            words = {"what": each.work.label, "ago": ago_text(each.work.oldest_at)}
            alarms.append(Alarm("warn", _("%(what)s: the oldest was due %(ago)s") % words, text))
    if expired := sum(each.work.expired for each in work):
        title = ngettext("%(n)d lease has run out", "%(n)d leases have run out", expired) % {"n": expired}
        text = _("A worker did not come back. With the next tick of the scheduler somebody else takes it up.")
        alarms.append(Alarm("warn", title, text))
    return alarms


def _unreachable(connections: list[Connection]) -> list[Alarm]:
    stopped = [each.name for each in connections if each.paused or is_out_of_reach(each)]
    if not stopped:
        return []
    title = _("Nothing is sent on %(names)s") % {"names": get_text_list(stopped, _("and"))}
    return [Alarm("warn", title, _("Operations wait, and none is lost. Why, stands below."))]


def _checked(check: InvariantCheck | None, broken: list[Broken], now: datetime) -> list[Alarm]:
    if n := len(broken):
        title = ngettext("%(n)d invariant is broken", "%(n)d invariants are broken", n) % {"n": n}
        return [Alarm("danger", title, _("This must never be. The rows stand below; keep the logs of that time."))]
    if check and now - check.started_at > CHECK_IS_OLD:
        return [Alarm("warn", _("The invariants were not checked for two nights"), _("A nightly job does it."))]
    return []
