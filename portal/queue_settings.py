"""Celery queues, one row each. Routes, the schedule, the demo's worker, the system page and the alarms are derived from
this table (docs/decisions/celery.md has the reasons)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Queue:
    """A queue. `tasks` are the name patterns routed to it; other tasks use the first queue. `if_stopped` is a sentence
    for admins: what does not happen while no worker consumes the queue. A message older than `late_after` raises an
    alarm."""

    name: str
    work: str | Promise
    if_stopped: str | Promise
    late_after: timedelta
    tasks: tuple[str, ...] = ()


QUEUES = (
    Queue(
        "ops",
        _("Operations, imports, and bulk changes"),
        _("Operations stay queued."),
        timedelta(minutes=1),
    ),
    Queue(
        "clock",
        _(
            "Scheduler: dispatching, leases, scheduled changes, audit log, and notifications. Sends no "
            "requests to providers."
        ),
        _("Scheduled work doesn't start. Operations that are due or lost their worker don't continue."),
        timedelta(minutes=1),
        tasks=(
            "customers.dispatch",
            "customers.take_schedule",
            "customers.nightly_walks",
            "customers.nightly_check",
            "customers.request_key_lists",
            "customers.remind_old_keys",
            "customers.check_workers",
            "billing.advance_runs",
            "audit.seal",
            "audit.log_head",
            "notices.deliver",
            "retention.start_nightly",
            "access.mail_reset_link",
            "approvals.expire",
            "browser_reports.end_notice",
        ),
    ),
    Queue(
        "sync",
        _(
            "Usage syncs, account list scans, account refreshes, key lists, integrity checks, retention, and requests "
            "about personal data"
        ),
        _("Usage isn't synced. Usage that a provider reports only until the end of the billing period is lost."),
        timedelta(minutes=10),
        tasks=(
            "billing.*",
            "privacy.*",
            "customers.walk",
            "customers.read_account",
            "customers.read_usage",
            "customers.list_keys",
            "customers.mark_late_usage",
            "customers.check_invariants",
            "retention.apply_rules",
        ),
    ),
)
NAMES = tuple(queue.name for queue in QUEUES)
DEFAULT = NAMES[0]
ROUTES = {pattern: {"queue": queue.name} for queue in QUEUES for pattern in queue.tasks}

# Header of a message, and key of the log: the ID of the page request that caused it.
REQUEST_ID = "request_id"
# Seconds after which a message expires: its row is found in the database again. Not less, because the clock of the
# worker's machine applies, which may be minutes fast.
EXPIRES = 900.0
# Maximum number of messages in a queue; the oldest are dropped beyond that. Their rows are found in the database again,
# and a worker that starts after an outage need not drop them one by one.
LONGEST = 200
# Seconds between alarm checks, which run on every queue, since a stopped worker cannot report itself.
ALARMS_EVERY, ALARMS_ELSEWHERE_EVERY = 30.0, 120.0


def beat(task: str, every: float, *, queue: str = "") -> dict[str, Any]:
    """Return a schedule entry: `task` every `every` seconds, with an expiry (see `EXPIRES`)."""
    return {
        "task": task,
        "schedule": every,
        "options": {"expires": max(every, EXPIRES), **({"queue": queue} if queue else {})},
    }


def schedule() -> dict[str, dict[str, Any]]:
    """Return the schedule of Celery's beat."""
    entries = {
        "dispatch operations": beat("customers.dispatch", 5.0),
        "scan the providers' account lists": beat("customers.nightly_walks", 600.0),
        "run the integrity checks": beat("customers.nightly_check", 600.0),
        "list API keys that were listed a day ago": beat("customers.request_key_lists", 600.0),
        "remind of old API keys": beat("customers.remind_old_keys", 3600.0),
        "mark accounts whose usage was read long ago": beat("customers.mark_late_usage", 600.0),
        "advance usage syncs": beat("billing.advance_runs", 30.0),
        "assess usage figures": beat("billing.assess_figures", 60.0),
        "write and compare usage exports": beat("billing.advance_exports", 60.0),
        "rate draft statements": beat("billing.rate_statements", 1800.0),
        "compare parallel months": beat("billing.advance_parallel_months", 60.0),
        "close months": beat("billing.advance_closings", 60.0),
        "seal audit events": beat("audit.seal", 10.0),
        "log the head of the audit log": beat("audit.log_head", 3600.0),
        "continue personal data requests": beat("privacy.advance_requests", 60.0),
        "end the notice of browser reports": beat("browser_reports.end_notice", 3600.0),
        "end expired approval requests": beat("approvals.expire", 600.0),
        "apply the retention rules": beat("retention.start_nightly", 600.0),
    }
    # On every queue, so that any queue with a worker raises the alarm about the others, and mails it.
    for name in NAMES:
        every = ALARMS_EVERY if name == "clock" else ALARMS_ELSEWHERE_EVERY
        for task in ("customers.check_workers", "notices.deliver"):
            entries[f"{task} on {name}"] = beat(task, every, queue=name)
    return entries
