"""The Celery queues: one row each. Routes, the schedule, the demo's worker and the alarms are made from this table."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Queue:
    """`tasks` are the name patterns routed to it; what no row names goes to the first one. `if_stopped` is a sentence
    for admins: what does not happen while no worker consumes the queue."""

    name: str
    work: str | Promise
    if_stopped: str | Promise
    tasks: tuple[str, ...] = ()


QUEUES = (
    Queue(
        "ops",
        _("Operations, scheduled changes and account list scans"),
        _("Operations stay queued, and nothing scheduled starts."),
    ),
    Queue(
        "sync",
        _("Usage syncs and integrity checks"),
        _("Usage is not read. Figures that a provider reports only until the end of a billing period are lost."),
        tasks=("billing.*", "customers.check_invariants", "access.remove_expired_sessions"),
    ),
)
NAMES = tuple(queue.name for queue in QUEUES)
DEFAULT = NAMES[0]
ROUTES = {pattern: {"queue": queue.name} for queue in QUEUES for pattern in queue.tasks}
