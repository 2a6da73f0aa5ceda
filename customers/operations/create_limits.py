"""The limits on creates of a connection: its hourly budget, test accounts only, one at a time."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Count

from customers.models import Attempt, Connection, Operation
from customers.models.operation_states import OperationKind
from customers.operations.attempts import has_possible_effect
from portal.texts import say


class CreateStopped(Exception):
    """A limit on the connection's creates stops this one; nothing was written. `error_kind` names the limit."""

    def __init__(self, error_kind: str, message: str) -> None:
        super().__init__(message)
        self.error_kind = error_kind


def stop_of_create(operation: Operation, connection: Connection, *, now: datetime) -> CreateStopped | None:
    """Return the limit that stops one more send, by the connection's row as it is now; None where it may be sent."""
    if connection.test_accounts_only and not operation.payload["is_test"]:
        return CreateStopped("test_only", say("create.test_only"))
    if _over_create_budget(operation, connection, now=now):
        return CreateStopped("budget", say("create.budget"))
    return None


def _over_create_budget(operation: Operation, connection: Connection, *, now: datetime) -> bool:
    """Return whether the connection's creates of the last hour used up its budget. Under one key any number of sends
    makes one account, so a create that was begun under a key is not stopped anymore."""
    keyed = connection.capabilities.idempotent_create
    if keyed and has_possible_effect(operation):
        return False
    sent = Attempt.objects.filter(
        operation__connection=connection,
        operation__kind=OperationKind.CREATE,
        intended_at__gt=now - timedelta(hours=1),
    ).aggregate(n=Count("operation", distinct=True) if keyed else Count("pk"))["n"]
    return bool(sent >= connection.creates_per_hour)


def creates_one_at_a_time(connection: Connection) -> bool:
    """Return whether nothing could prove afterwards which of two unknown creates made an account."""
    return not connection.capabilities.idempotent_create and connection.probe_available is not True


def create_concurrency_key(connection_id: int) -> str:
    return f"create:{connection_id}"
