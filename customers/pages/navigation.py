"""Data of the navigation on every page: the status of connections, and operations in progress."""

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
    state: str  # paused, held, refused, unreachable, silent, slow, good or new

    @property
    def dot(self) -> str:
        return {
            "good": "good",
            "slow": "warn",
            "silent": "warn",
            "held": "bad",
            "refused": "bad",
            "unreachable": "bad",
        }.get(self.state, "off")


def rail_connections_now() -> list[RailConnection]:
    now = timezone.now()
    connections = Connection.objects.select_related("breaker").order_by("name")[:12]
    return [RailConnection(each, _state(each, now)) for each in connections]


def _state(connection: Connection, now: datetime) -> str:
    if connection.is_on_hold:
        return "held"
    if connection.paused:
        return "refused" if connection.paused == Connection.Paused.BY_AUTH else "paused"
    if is_out_of_reach(connection):
        return "unreachable"
    if connection.last_answer_at is None:
        return "new"
    age = now - connection.last_answer_at
    return "silent" if age > SILENT else "slow" if age > SLOW else "good"


def rail_operations_now() -> dict[str, int]:
    """Return how many operations are `running`, and how many are `waiting` for a review."""
    found = Operation.objects.filter(state__in=OPEN)
    return found.aggregate(running=Count("pk", filter=~Q(NEEDS_A_PERSON)), waiting=Count("pk", filter=NEEDS_A_PERSON))
