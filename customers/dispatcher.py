"""Dispatcher: every few seconds, enqueue what is due in the tables. A lost message only causes a short delay.

For a connection no more is enqueued than it may have in work at a time (`customers.connections.worker_shares`); an
operation that ends enqueues the next one.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Min, Q, Window
from django.db.models.functions import RowNumber

from customers.bulk import run as bulk_run
from customers.connections import circuit_breaker, worker_shares
from customers.models import Connection, Operation
from customers.models.breaker import at_work, readable
from customers.models.operation import is_first
from customers.models.operation_states import OperationKind, OperationState
from customers.observed import account_list, usage_readings
from customers.observed import accounts as observed_accounts
from customers.operations import create_limits, key_secrets, transitions
from customers.operations.request import PERFORM
from customers.reconcile import account_import as account_imports
from customers.recovery import commands as recovery_commands
from customers.schedules import due as due_schedules
from portal import queue_settings
from portal.queue import enqueue_on_commit

# Names of tasks.
READ_ACCOUNT, TRY_CONNECTION = "customers.read_account", "customers.try_connection"
READ_USAGE = usage_readings.READ_USAGE
ENQUEUED_AT_ONCE = 200
READS_AT_ONCE, READS_ON_HOLD = 10, 50


def dispatch(*, now: datetime) -> int:
    """Expire leases and scans, empty secrets not revealed in time, then enqueue what is due. Returns how many
    operations were enqueued."""
    transitions.expire_leases(now=now)
    key_secrets.forget_due(now=now)
    due = due_operations(now=now, of_each=worker_shares.max_places(queue_settings.DEFAULT))
    for operation_id in due:
        enqueue_on_commit(PERFORM, operation_id)
    for account_id in next_accounts_to_read(now=now):
        enqueue_on_commit(READ_ACCOUNT, account_id)
    for account_id in next_usage_to_read(now=now):
        enqueue_on_commit(READ_USAGE, account_id)
    for connection_id in circuit_breaker.due_connections(now=now):
        enqueue_on_commit(TRY_CONNECTION, connection_id)
    account_list.expire_scans(now=now)
    recovery_commands.request_scans_on_hold(now=now)
    account_list.enqueue_waiting_scans(now=now)
    for account_import_id in account_imports.due_imports(now=now):
        enqueue_on_commit(account_imports.IMPORT_CHUNK, account_import_id)
    due_schedules.follow_cycles(now=now)
    for schedule_id in due_schedules.due_schedules_now(now=now):
        enqueue_on_commit(due_schedules.RUN_SCHEDULE, schedule_id)
    for change_set_id in bulk_run.due_change_sets(now=now):
        enqueue_on_commit(bulk_run.RUN, change_set_id)
    return len(due)


def connection_of_operation(operation_id: int) -> tuple[int, bool] | None:
    """Return the connection of an operation that may be waiting for a worker, and whether it is part of a bulk change;
    None where no worker is needed."""
    waiting = Operation.objects.filter(pk=operation_id, state__in=(OperationState.QUEUED, OperationState.UNKNOWN))
    return waiting.order_by().values_list("connection", "is_bulk").first()


def enqueue_next(connection_id: int, *, now: datetime) -> None:
    """Enqueue as many operations as this connection has room for, now that one of it ended."""
    room = worker_shares.free_places_of(queue_settings.DEFAULT, connection_id)
    if not room:
        return
    for operation_id in due_operations(now=now, connection_id=connection_id, of_each=room):
        enqueue_on_commit(PERFORM, operation_id)


def next_accounts_to_read(*, now: datetime) -> list[int]:
    """Return the oldest readings of every connection, so that a slow provider delays no other."""
    connections = list(Connection.objects.filter(readable()))
    each = max(1, READS_AT_ONCE // max(1, len(connections)))
    due: list[int] = []
    for connection in connections:
        # What is on hold is read as fast as it can be: its changes since the backup are to be seen.
        n = READS_ON_HOLD if connection.is_on_hold else each
        due += observed_accounts.accounts_to_read_of(connection, now=now).values_list("pk", flat=True)[:n]
    return due


def next_usage_to_read(*, now: datetime) -> list[int]:
    """Return accounts whose usage is due after a change, the connections in turn."""
    turn = Window(RowNumber(), partition_by="connection", order_by="usage_due_at")
    due = usage_readings.accounts_with_usage_due(now=now).annotate(turn=turn)
    return list(due.order_by("turn", "pk").values_list("pk", flat=True)[:READS_AT_ONCE])


def due_operations(*, now: datetime, of_each: int = ENQUEUED_AT_ONCE, connection_id: int | None = None) -> list[int]:
    """Return what a worker can take now: queued and able to be claimed, or unknown and to be verified. At most
    `ENQUEUED_AT_ONCE`, the connections in turn, so that nothing that has to wait delays what could run, and at most
    `of_each` of them; what a person waits for before bulk changes."""
    connections = Connection.objects.filter(at_work())
    if connection_id is not None:
        connections = connections.filter(pk=connection_id)
    one_at_a_time = [each.pk for each in connections if create_limits.creates_one_at_a_time(each)]
    queued = transitions.ready(now=now)
    if connection_id is not None and not one_at_a_time:  # what an operation that ends asks: the cheapest form
        waiting = Operation.objects.filter(at_work("connection__"), connection=connection_id).due(now=now)
        of_it = waiting.filter(Q(is_first(), state=OperationState.QUEUED) | Q(state=OperationState.UNKNOWN))
        return list(of_it.order_by("is_bulk", "pk").values_list("pk", flat=True)[:of_each])
    if one_at_a_time:
        creates = Q(kind=OperationKind.CREATE, connection__in=one_at_a_time)
        taken = Operation.objects.busy().filter(
            concurrency_key__in=[create_limits.create_concurrency_key(pk) for pk in one_at_a_time]
        )
        first = queued.filter(creates).exclude(connection__in=taken.values("connection"))
        firsts = first.values("connection").annotate(first=Min("pk")).values_list("first", flat=True)
        queued = queued.filter(~creates | Q(pk__in=list(firsts.order_by())))
    due = Operation.objects.filter(
        Q(pk__in=queued.order_by().values("pk")) | Q(pk__in=transitions.to_verify(now=now).order_by().values("pk"))
    )
    if connection_id is not None:
        of_it = due.filter(connection=connection_id).order_by("is_bulk", "pk")
        return list(of_it.values_list("pk", flat=True)[:of_each])
    turn = Window(RowNumber(), partition_by="connection", order_by=("is_bulk", "pk"))
    in_turn = due.annotate(turn=turn).filter(turn__lte=of_each).order_by("turn", "pk")
    return list(in_turn.values_list("pk", flat=True)[:ENQUEUED_AT_ONCE])
