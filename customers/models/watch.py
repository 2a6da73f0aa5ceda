"""Heartbeats of the processes, and the results of the integrity checks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

# A heartbeat of this age or older counts as silent.
SILENT = timedelta(minutes=2)


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def alive(self, *, now: datetime) -> HeartbeatQuerySet:
        """Return the workers with a recent heartbeat that were not told to end."""
        return self.filter(seen_at__gte=now - SILENT, kind=Heartbeat.Kind.WORKER, ended_at=None)


class Heartbeat(models.Model):
    """The heartbeat of one process. A row that grows old means that the process has stopped.

    `instance` tells apart two processes of the same name. `queues` are those a worker consumes, and `processes` how
    many tasks it runs at a time; null is a worker that does not report them (of a version before these columns).
    `ended_at` is set by a process that was told to end.

    For a queue it is the last message that was sent through it to measure the wait: sent at `started_at`, received at
    `seen_at`, or still waiting while that is the earlier one.
    """

    class Kind(models.TextChoices):
        SCHEDULER = "scheduler", _("Scheduler")
        WORKER = "worker", _("Worker")
        QUEUE = "queue", _("Queue")

    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(max_length=200)
    # The database's own default: a worker of the version before writes rows while a new version is deployed.
    instance = models.CharField(max_length=32, default="", db_default="", blank=True)
    queues = models.JSONField(null=True, blank=True)
    processes = models.PositiveIntegerField(null=True, blank=True)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    # By how many seconds its machine's clock is ahead of the database's.
    clock_skew = models.IntegerField(default=0)
    ended_at = models.DateTimeField(null=True, blank=True)

    # django-stubs sees a Manager here, which lacks the methods of the query set.
    objects: ClassVar[HeartbeatQuerySet] = HeartbeatQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("kind", "name", "-started_at")
        constraints = [models.UniqueConstraint(fields=("kind", "name", "instance"), name="heartbeat_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class InvariantCheck(models.Model):
    """One run of all integrity checks. `slot` makes the nightly one unique: the UTC date; for one started by hand, its
    time. `found` lists every invariant: `{"code", "rows": [text], "more", "error", "ms"}`."""

    slot = models.CharField(max_length=40, unique=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    broken = models.PositiveIntegerField(default=0)
    found = models.JSONField(default=list)

    class Meta:
        ordering = ("-started_at", "-id")

    def __str__(self) -> str:
        return self.slot
