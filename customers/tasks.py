"""Celery tasks. Each takes IDs and calls one function. A message may arrive late, twice or never."""

from __future__ import annotations

from typing import Any

import structlog
from celery import current_app, shared_task
from celery.platforms import EX_FAILURE
from celery.signals import celeryd_after_setup, heartbeat_sent, worker_ready, worker_shutdown
from celery.worker import state
from django.db import connections
from django.utils import timezone

from customers import dispatcher
from customers.accounts.keys import reminders as key_reminders
from customers.bulk import run as bulk_run
from customers.connections import circuit_breaker, worker_shares
from customers.connections.client import client_for, recorded
from customers.models import Account, Connection
from customers.monitoring import backups, heartbeat
from customers.monitoring import nightly_check as monitoring_nightly_check
from customers.observed import account_list, key_lists, scan_requests, usage_readings
from customers.observed import accounts as observed_accounts
from customers.operations import executor
from customers.operations.request import PERFORM
from customers.reconcile import account_import as account_imports
from customers.schedules import due as due_schedules
from portal import liveness
from portal.clock import database_now
from portal.installation import epochs
from portal.pool_watch import PoolWatch
from portal.providers import ProviderError
from portal.queue import enqueue_on_commit
from portal.queue_settings import REQUEST_ID

log = structlog.get_logger(__name__)


OPS, SYNC = "ops", "sync"  # the queues of the tasks that share processes by connection (portal.queue_settings)


@shared_task(name="customers.dispatch")
def dispatch(**_: Any) -> None:
    epochs.check_last_rows()  # before the tick is recorded: rows that went back are as old as the last one
    if heartbeat.record_tick(now=database_now()):
        heartbeat.probe_queues(now=database_now())
        dispatcher.dispatch(now=database_now())


@shared_task(name=heartbeat.PROBE)
def probe_queue(heartbeat_id: int, sent_id: int, **_: Any) -> None:
    heartbeat.probe_arrived(heartbeat_id, sent_id, now=database_now())


@shared_task(name=PERFORM)
def perform(operation_id: int, **_: Any) -> None:
    found = dispatcher.connection_of_operation(operation_id)
    if found is None:
        return
    connection_id, is_bulk = found
    with worker_shares.worker_place(OPS, connection_id, leave_one=is_bulk) as taken:
        performed = taken and executor.perform(operation_id)
    if performed:
        structlog.contextvars.unbind_contextvars(REQUEST_ID)  # the next one is of another request
        dispatcher.enqueue_next(connection_id, now=database_now())


@shared_task(name=dispatcher.READ_ACCOUNT)
def read_account(account_id: int, **_: Any) -> None:
    connection = Connection.objects.filter(accounts=account_id).first()
    if connection is None:
        return
    account = observed_accounts.accounts_to_read_of(connection, now=database_now()).filter(pk=account_id).first()
    if account is None:
        return
    with worker_shares.worker_place(SYNC, account.connection_id) as taken, recorded() as exchanges:
        if not taken:
            return
        account = Account.objects.select_related("connection").get(pk=account_id)
        try:
            provider = client_for(account.connection, interactive=True, background=True)
            observed_accounts.read_account(account=account, now=database_now(), provider=provider)
        except ProviderError:
            pass  # the time of the try is stored; it is read again later
    circuit_breaker.record_exchanges(account.connection, exchanges=exchanges)


@shared_task(name=dispatcher.READ_USAGE)
def read_usage(account_id: int, **_: Any) -> None:
    now = database_now()
    due = usage_readings.accounts_with_usage_due(now=now).select_related("connection")
    account = due.filter(pk=account_id).first()
    if account is None:
        return
    with worker_shares.worker_place(SYNC, account.connection_id) as taken, recorded() as exchanges:
        if not taken:
            return
        usage_readings.read_due_usage(account, client_for(account.connection, background=True), now=now)
    circuit_breaker.record_exchanges(account.connection, exchanges=exchanges)


@shared_task(name=dispatcher.TRY_CONNECTION)
def try_connection(connection_id: int, **_: Any) -> None:
    with worker_shares.worker_place(OPS, connection_id) as taken:
        if taken:
            circuit_breaker.try_again(connection_id)


# The list of a large provider takes minutes at its rate.
@shared_task(name=account_list.SCAN, soft_time_limit=840, time_limit=870)
def walk(scan_id: int, **_: Any) -> None:
    scan_requests.run_scan(scan_id)


@shared_task(name="customers.nightly_walks")
def nightly_walks(**_: Any) -> None:
    scan_requests.request_nightly_scans(now=database_now())


@shared_task(name="customers.request_key_lists")
def request_key_lists(**_: Any) -> None:
    key_lists.request_key_lists(now=database_now())


@shared_task(name=key_lists.LIST_KEYS)
def list_keys(connection_id: int, **_: Any) -> None:
    connection = Connection.objects.filter(pk=connection_id).first()
    if connection is None:
        return
    with worker_shares.worker_place(SYNC, connection_id) as taken:
        more = taken and key_lists.list_keys_of(connection)
    if more:
        enqueue_on_commit(key_lists.LIST_KEYS, connection_id)


@shared_task(name="customers.remind_old_keys")
def remind_old_keys(**_: Any) -> None:
    key_reminders.remind_old_keys(now=database_now())


@shared_task(name=account_imports.IMPORT_CHUNK)
def takeover_chunk(account_import_id: int, **_: Any) -> None:
    with worker_shares.worker_place(OPS, account_imports.connection_of_import(account_import_id)) as taken:
        more = taken and account_imports.import_chunk(account_import_id)
    if more:
        enqueue_on_commit(account_imports.IMPORT_CHUNK, account_import_id)


@shared_task(name=due_schedules.RUN_SCHEDULE)
def take_schedule(schedule_id: int, **_: Any) -> None:
    due_schedules.run_schedule(schedule_id, now=database_now())


@shared_task(name=bulk_run.RUN)
def run_change_set(change_set_id: int, **_: Any) -> None:
    with worker_shares.worker_place(OPS, worker_shares.NO_CONNECTION) as taken:
        more = taken and bulk_run.run_bulk_change(change_set_id)
    if more:
        enqueue_on_commit(bulk_run.RUN, change_set_id)


@shared_task(name="customers.nightly_check")
def nightly_check(**_: Any) -> None:
    monitoring_nightly_check.start_nightly_check(now=database_now())


# Whole tables are read: it may take minutes where there are many accounts.
@shared_task(name=monitoring_nightly_check.CHECK, soft_time_limit=540, time_limit=570)
def check_invariants(check_id: int, **_: Any) -> None:
    monitoring_nightly_check.run_check(check_id)


@shared_task(name="customers.mark_late_usage")
def mark_late_usage(**_: Any) -> None:
    usage_readings.mark_late_usage(now=database_now())


@shared_task(name="customers.check_workers")
def check_workers(**_: Any) -> None:
    heartbeat.check_workers(now=database_now())
    backups.check_backup_age(now=database_now())


# --- The heartbeat of the worker in this process, if it is one. Celery logs what fails here and continues. ------------

_workers: dict[str, heartbeat.WorkerProcess] = {}
_processes: dict[str, int] = {}
_pool = PoolWatch()


@celeryd_after_setup.connect
def _worker_is_set_up(sender: str, instance: Any, **_: Any) -> None:
    """Set up the heartbeat. `sender` is the worker's name."""
    _processes[sender] = instance.concurrency
    liveness.report(liveness.short_name(sender))


@heartbeat_sent.connect
def _worker_is_alive(sender: Any, **_: Any) -> None:
    """Report the heartbeat every two seconds in the worker's main process, while it is connected to the broker.
    Without a connection `portal.consumer` reports that it is alive."""
    name = sender.hostname
    if _pool.is_stuck(_processes.get(name, 0)):
        # What runs goes on to its end. The hung process holds that up, until the missing report ends the worker.
        log.error("worker.stuck", worker=name)
        state.should_stop = EX_FAILURE
        return
    liveness.report(liveness.short_name(name))
    worker = _workers.setdefault(name, heartbeat.WorkerProcess(name))
    consumed = current_app.amqp.queues.consume_from
    worker.report(queues=consumed, now=timezone.now(), processes=_processes.get(name))
    connections.close_all()  # this process only passes tasks on; those it forks must not inherit a connection


@worker_ready.connect
def _worker_is_ready(sender: Any, **_: Any) -> None:
    log.info("worker.started", worker=sender.hostname, queues=sorted(current_app.amqp.queues.consume_from))


@worker_shutdown.connect
def _worker_ends(sender: Any, **_: Any) -> None:
    if worker := _workers.get(sender.hostname):
        worker.end(now=database_now())
    connections.close_all()
