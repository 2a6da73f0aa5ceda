"""The frame around every page: how fresh the connections are, and what is in progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q
from django.utils import timezone

from customers.models import Connection, Operation
from customers.models.breaker import is_out_of_reach
from customers.models.operation_states import OPEN
from customers.operations.queries import NEEDS_A_PERSON

# The nightly run and the readings of the day make a working connection's last answer younger than this.
SLOW = timedelta(hours=2)
SILENT = timedelta(hours=26)


@dataclass(frozen=True)
class RailConnection:
    connection: Connection
    state: str  # paused, refused, unreachable, silent, slow, good or new

    @property
    def dot(self) -> str:
        return {"good": "good", "slow": "warn", "silent": "warn", "refused": "bad", "unreachable": "bad"}.get(
            self.state, "off"
        )


@dataclass(frozen=True)
class RailOperations:
    running: int
    waiting: int


def rail_connections_now() -> list[RailConnection]:
    now = timezone.now()
    connections = Connection.objects.select_related("breaker").order_by("name")[:12]
    return [RailConnection(each, _state(each, now)) for each in connections]


def _state(connection: Connection, now: datetime) -> str:
    if connection.paused:
        return "refused" if connection.paused == Connection.Paused.BY_AUTH else "paused"
    if is_out_of_reach(connection):
        return "unreachable"
    if connection.last_answer_at is None:
        return "new"
    age = now - connection.last_answer_at
    return "silent" if age > SILENT else "slow" if age > SLOW else "good"


def rail_operations_now() -> RailOperations:
    counts = Operation.objects.filter(state__in=OPEN).aggregate(
        all=Count("pk"), waiting=Count("pk", filter=Q(NEEDS_A_PERSON))
    )
    return RailOperations(running=counts["all"] - counts["waiting"], waiting=counts["waiting"])
