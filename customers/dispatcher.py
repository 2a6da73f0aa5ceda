"""Every few seconds: look at the table and poke whatever is due. Losing every message loses nothing but seconds."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from customers import breaker, bulk_run, engine, estate, observations, schedules_due, secrets
from customers.models import Operation
from customers.models.breaker import at_work
from customers.poke import poke
from customers.states import OperationState

POKES_AT_ONCE = 200
READS_AT_ONCE = 10


def dispatch(*, now: datetime) -> int:
    """Expire leases, empty secrets nobody fetched, then poke what is due. Returns how many operations were poked."""
    engine.expire_leases(now=now)
    secrets.forget_due(now=now)
    due = due_operations(now=now)
    for operation_id in due:
        poke("customers.perform", operation_id)
    for account_id in observations.accounts_to_read(now=now).values_list("pk", flat=True)[:READS_AT_ONCE]:
        poke("customers.read_account", account_id)
    for connection_id in breaker.due(now=now):
        poke("customers.try_connection", connection_id)
    for takeover_id in estate.due(now=now):
        poke(estate.CHUNK, takeover_id)
    schedules_due.follow_cycles(now=now)
    for schedule_id in schedules_due.due(now=now):
        poke(schedules_due.TAKE, schedule_id)
    for change_set_id in bulk_run.due(now=now):
        poke(bulk_run.RUN, change_set_id)
    return len(due)


def due_operations(*, now: datetime) -> list[int]:
    """Queued and due, or unknown and to be settled by reading."""
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    settles = Q(state=OperationState.UNKNOWN) & free
    due = Operation.objects.filter(
        Q(state=OperationState.QUEUED) | settles, at_work("connection__"), not_before__lte=now
    )
    return list(due.order_by("pk").values_list("pk", flat=True)[:POKES_AT_ONCE])
