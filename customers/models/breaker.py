"""The circuit breaker of a connection: whether its provider can be reached, as all processes share it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from customers.models.connection import Connection


class Breaker(models.Model):
    """The breaker's state. Created with the first failure. Closed while `opened_at` is empty. While it is open nothing
    is sent but one trial at `retry_at`, which moves on with every trial."""

    connection = models.OneToOneField(Connection, on_delete=models.CASCADE, related_name="breaker")
    # By how much recent failures outnumber answers.
    failures = models.PositiveIntegerField(default=0)
    failed_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, default="", blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)
    trials = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(opened_at=None, retry_at=None) | Q(opened_at__isnull=False, retry_at__isnull=False),
                name="breaker_open_has_its_next_trial",
            )
        ]

    def __str__(self) -> str:
        return f"circuit breaker of {self.connection_id}"

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None


def is_out_of_reach(connection: Connection) -> bool:
    """Return whether the connection's breaker is open. Costs a query unless `breaker` was selected with it."""
    return hasattr(connection, "breaker") and connection.breaker.is_open


def at_work(path: str = "") -> Q:
    """Match connections that are neither paused nor unreachable. `path` leads to one, as in "connection__"."""
    return Q(**{f"{path}paused": "", f"{path}breaker__opened_at": None})


def readable(path: str = "") -> Q:
    """Match connections that are reachable and may be read: at work, or on hold after a restore."""
    return Q(**{f"{path}paused__in": Connection.READABLE, f"{path}breaker__opened_at": None})
