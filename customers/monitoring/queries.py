"""Queries of the page "System status". The number of queries does not depend on how much there is to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, OuterRef, Subquery
from django.urls import reverse
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from customers.models import Connection, Heartbeat, InvariantCheck, Operation, Scan
from customers.models.breaker import is_out_of_reach
from customers.models.operation_states import OPEN
from customers.monitoring import heartbeat, invariants
from customers.monitoring.doctor.findings import Severity
from customers.monitoring.doctor.table import examine
from customers.monitoring.heartbeat import Alarm, QueueState, Work
from customers.operations.queries import NEEDS_A_PERSON
from portal.audit.head import current_head
from portal.formats import HOUR, ago_text
from portal.notices.models import Notice

SHOWN = 8
# Due work is taken within seconds; at this age no worker takes it.
LONG_DUE = timedelta(minutes=2)
CHECK_IS_OLD = timedelta(hours=50)


@dataclass(frozen=True)
class HeartbeatRow:
    """A process, and whether its heartbeat is recent."""

    heartbeat: Heartbeat
    silent: bool


@dataclass(frozen=True)
class WorkRow:
    work: Work
    late: bool


def system_status(*, now: datetime) -> dict[str, Any]:
    """Return what the page shows."""
    rows = heartbeat.heartbeats(now=now)
    signs = [
        HeartbeatRow(each, silent=not heartbeat.is_alive(each, now=now))
        for each in rows
        if each.ended_at is None and each.kind != Heartbeat.Kind.QUEUE
    ]
    scheduler = next((each for each in signs if each.heartbeat.kind == Heartbeat.Kind.SCHEDULER), None)
    workers = [each for each in signs if each is not scheduler]
    queues = heartbeat.queue_states(rows, now=now)
    work = [
        WorkRow(each, late=bool(each.oldest_at and now - each.oldest_at > LONG_DUE))
        for each in heartbeat.all_work(now=now)
    ]
    people = Operation.objects.filter(NEEDS_A_PERSON).select_related("account__customer", "connection")
    measured = Scan.objects.filter(connection=OuterRef("pk"), clock_skew__isnull=False).order_by("-pk")
    with_clocks = Connection.objects.annotate(clock_skew=Subquery(measured.values("clock_skew")[:1]))
    connections: list[Connection] = [*with_clocks.select_related("breaker").order_by("name")]
    check = InvariantCheck.objects.exclude(finished_at=None).first()
    broken = _broken(check)
    bad = {each["code"] for each in broken}
    alarms = [
        *_deployment(),
        *_silence(scheduler, workers),
        *_consumers(workers, queues, heartbeat.names_used_twice(rows, now=now)),
        *_clocks(workers, connections),
        *_standing(work),
        *_unreachable(connections),
        *_checked(check, broken, now),
    ]
    shown, count = list(people.order_by("pk")[:SHOWN]), people.count()
    return {
        "now": now,
        "scheduler": scheduler,
        "workers": workers,
        "queues": queues,
        "work": work,
        "states": _states(),
        "people": shown,
        "people_count": count,
        "people_more": count - len(shown),
        "connections": connections,
        "check": check,
        "audit_head": current_head(),
        "broken": broken,
        "held": [each for each in invariants.registered() if check and each.code not in bad],
        "alarms": sorted(alarms, key=lambda each: each.kind != "danger"),
        "told": list(Notice.objects.all()[:SHOWN]),
    }


def _deployment() -> Iterator[Alarm]:
    """Yield what the quick checks of `manage.py doctor` find."""
    for each in examine(quick=True):
        kind = "danger" if each.severity == Severity.ERROR else "warn"
        yield Alarm(kind, each.title, f"{each.why} {each.fix}")


def _states() -> list[tuple[str, int]]:
    """Return how many operations are in each state that is not final."""
    counted = Operation.objects.order_by().filter(state__in=OPEN).values_list("state").annotate(n=Count("pk"))
    found = dict(counted)
    return [(state, found[state]) for state in OPEN if state in found]


def _broken(check: InvariantCheck | None) -> list[dict[str, Any]]:
    """Return the findings of broken invariants, each with what must hold."""
    holds = {each.code: str(each.holds) for each in invariants.registered()}
    found: list[dict[str, Any]] = check.found if check else []
    return [each | {"holds": holds.get(each["code"], "")} for each in found if each["rows"] or each["error"]]


# --- Problems to look into --------------------------------------------------------------------------------------------


def _silence(scheduler: HeartbeatRow | None, workers: list[HeartbeatRow]) -> Iterator[Alarm]:
    if all(each.silent for each in workers):
        text = _(
            "Nothing is sent or read. Operations wait in the database and won't be lost. Start a worker, or "
            "check its log."
        )
        yield Alarm("danger", _("No worker is responding"), text)
        return
    if scheduler is None or scheduler.silent:
        text = _(
            "New operations are still sent. Scheduled changes, delayed or lost operations, and nightly jobs "
            "are not. Start the scheduler, or check its log."
        )
        yield Alarm("danger", _("The scheduler is not running"), text)
    text = _("It crashed or is stuck. Other workers pick up its work when its lease expires.")
    for each in [each.heartbeat for each in workers if each.silent]:
        title = _("%(name)s: last heartbeat %(ago)s") % {"name": each.name, "ago": ago_text(each.seen_at)}
        yield Alarm("warn", title, text)


def _clocks(workers: list[HeartbeatRow], connections: list[Connection]) -> list[Alarm]:
    """Return machines whose clock differs from the database's, and providers whose clock differed at the last scan."""
    ours = _(
        "Operations are not affected because they use the database clock. Logs on this machine show the wrong "
        "time. Check its time synchronization."
    )
    theirs = _(
        "New accounts are still found because the difference is measured before each account creation. Times "
        "shown by the provider differ from ours."
    )
    limit = heartbeat.CLOCKS_AGREE.total_seconds()
    skews = [(each.heartbeat.name, each.heartbeat.clock_skew, ours) for each in workers]
    skews += [(each.name, getattr(each, "clock_skew", None) or 0, theirs) for each in connections]
    return [Alarm("warn", _skewed(name, skew), text) for name, skew, text in skews if abs(skew) > limit]


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
    found = [*map(heartbeat.stopped_alarm, queues), *map(heartbeat.late_alarm, queues)]
    return [alarm for alarm in (*found, heartbeat.same_name_alarm(used_twice)) if alarm]


def _standing(work: list[WorkRow]) -> Iterator[Alarm]:
    text = _(
        "Work arrives faster than the workers process it, or a provider's rate limit slows it down. In the "
        "first case, add workers."
    )
    for each in work:
        if each.late and each.work.oldest_at:
            words = {"what": each.work.label, "ago": ago_text(each.work.oldest_at)}
            yield Alarm("warn", _("%(what)s: oldest due %(ago)s") % words, text)
    if expired := sum(each.work.expired for each in work):
        title = ngettext("%(n)d lease expired", "%(n)d leases expired", expired) % {"n": expired}
        text = _("A worker stopped responding. Another worker picks up its work on the next scheduler run.")
        yield Alarm("warn", title, text)


def _unreachable(connections: list[Connection]) -> Iterator[Alarm]:
    if held := [each.name for each in connections if each.is_on_hold]:
        title = _("The database was restored from a backup. On hold: %(names)s") % {
            "names": get_text_list(held, _("and"))
        }
        text = _("Nothing is sent there until an admin releases each connection on the page Recovery.")
        yield Alarm("danger", title, text, reverse("customers:recovery"))
    if stopped := [each.name for each in connections if not each.is_readable or is_out_of_reach(each)]:
        title = _("Nothing is sent through %(names)s") % {"names": get_text_list(stopped, _("and"))}
        yield Alarm(
            "warn", title, _("Operations are waiting and won't be lost. The reason is shown under Connections below.")
        )


def _checked(check: InvariantCheck | None, broken: list[dict[str, Any]], now: datetime) -> Iterator[Alarm]:
    if n := len(broken):
        title = ngettext("%(n)d integrity check failed", "%(n)d integrity checks failed", n) % {"n": n}
        yield Alarm(
            "danger",
            title,
            _("This should never happen. The affected records are listed below. Save the logs from that time."),
        )
    elif check and now - check.started_at > CHECK_IS_OLD:
        yield Alarm("warn", _("Integrity checks haven't run for two nights"), _("They run as a nightly job."))
