"""Request a scan of an account list: by hand, and every night."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from customers.connections.client import background_client
from customers.models import Connection
from customers.models.breaker import readable
from customers.models.remote_account import Scan
from customers.observed.account_list import (
    NIGHTLY_HOUR,
    NIGHTLY_TRIES,
    SCAN,
    begin_scan,
    end_scan,
    expire_scans,
    read_account_list,
)
from portal.clock import database_now
from portal.commands import Command
from portal.encryption import DecryptionError
from portal.providers import Provider
from portal.queue import enqueue_on_commit


def request_scan(command: Command, *, connection: Connection) -> Scan:
    """Request a scan of one connection by a worker. While one runs, that one is returned."""
    with transaction.atomic():
        scan, begun = begin_scan(
            connection=connection,
            kind=Scan.Kind.ASKED,
            slot=command.now.isoformat(),
            now=command.now,
            asked_by=command.actor,
        )
        if begun:
            command.record(verb="scan.asked", obj=connection)
        if scan.state == Scan.State.RUNNING and scan.taken_at is None:
            enqueue_on_commit(SCAN, scan.pk)
    return scan


def request_scans(command: Command) -> list[Scan]:
    """Request a scan of every connection that is not paused, those on hold included."""
    connections = Connection.objects.filter(paused__in=Connection.READABLE)
    return [request_scan(command, connection=each) for each in connections]


def request_nightly_scans(*, now: datetime) -> int:
    """Begin one scan for each connection and UTC date, tried again a few times where the list was not read to its end.

    Returns how many began. Safe to call at any time: a scan that ran does not run again.
    """
    begun = 0
    if now.hour < NIGHTLY_HOUR:
        return 0
    for connection in Connection.objects.filter(readable()):
        expire_scans(now=now, connection=connection)
        tonight = Scan.objects.filter(connection=connection, kind=Scan.Kind.NIGHTLY, slot__startswith=f"{now:%Y-%m-%d}")
        tried = tonight.exclude(taken_at=None).count()
        if tonight.exclude(state=Scan.State.INCOMPLETE).exists() or tried >= NIGHTLY_TRIES:
            continue
        slot = f"{now:%Y-%m-%d} {tonight.count() + 1}"
        scan, new = begin_scan(connection=connection, kind=Scan.Kind.NIGHTLY, slot=slot, now=now)
        if new:
            begun += 1
            enqueue_on_commit(SCAN, scan.pk)
    return begun


def run_scan(scan_id: int, *, connect: Callable[[Connection], Provider] = background_client) -> None:
    """Run a requested scan in a worker. A second worker with the same scan does nothing."""
    scan = Scan.objects.select_related("connection").filter(pk=scan_id, state=Scan.State.RUNNING, taken_at=None).first()
    now = database_now()
    if scan is None or scan.as_read().filter(taken_at=None).update(taken_at=now, lease_until=now + Scan.LEASE) != 1:
        return
    try:
        read_account_list(scan, connect(scan.connection))
    except DecryptionError as error:
        end_scan(scan, Scan.State.INCOMPLETE, now=database_now(), message=str(error))
