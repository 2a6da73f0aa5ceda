"""Scan connections on hold, and release them one by one."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from customers.models import Connection, Operation, Recovery, Scan
from customers.models.operation_states import OperationState
from customers.observed import account_list
from portal.commands import Command
from portal.queue import enqueue_on_commit
from portal.refusals import Refusal

# A scan that did not reach the end of the list is tried again after the first time, one whose list was implausible
# after the second.
SCAN_AGAIN_AFTER, SCAN_REFUSED_AGAIN_AFTER = timedelta(minutes=2), timedelta(hours=1)
RELEASED = "connection.released"


def request_scans_on_hold(*, now: datetime) -> None:
    """Scan every connection on hold until one scan is complete."""
    readable = Recovery.objects.filter(released_at=None, connection__paused=Connection.Paused.BY_RESTORE)
    for recovery in readable.select_related("connection"):
        scans = scans_of(recovery)
        last = scans.first()
        if last and (
            last.state in (Scan.State.COMPLETE, Scan.State.RUNNING) or last.started_at > now - _pause_after(last)
        ):
            continue
        slot = f"restore {recovery.epoch} {scans.count() + 1}"
        scan, begun = account_list.begin_scan(connection=recovery.connection, kind=Scan.Kind.ASKED, slot=slot, now=now)
        if begun:
            enqueue_on_commit(account_list.SCAN, scan.pk)


def _pause_after(scan: Scan) -> timedelta:
    return SCAN_REFUSED_AGAIN_AFTER if scan.state == Scan.State.REFUSED else SCAN_AGAIN_AFTER


def scans_of(recovery: Recovery) -> QuerySet[Scan]:
    """Return the scans that began since the restore, the latest first."""
    return Scan.objects.filter(connection=recovery.connection, started_at__gte=recovery.began_at)


def complete_scan_of(recovery: Recovery) -> Scan | None:
    return scans_of(recovery).filter(state=Scan.State.COMPLETE).first()


def cannot_be_scanned(recovery: Recovery) -> bool:
    """Return whether a scan since the restore ended, and none was complete."""
    return complete_scan_of(recovery) is None and scans_of(recovery).exclude(state=Scan.State.RUNNING).exists()


def release_connection(command: Command, *, recovery: Recovery) -> None:
    """Let operations be sent through a connection again that is on hold after a restore.

    Creates that were open at the backup are searched for first, then sent if the account isn't there
    (`transitions.assume_all_sent`). Raises `Refusal` before a complete scan since the restore, unless the last one
    failed and the command has a reason, and while an operation has the lease of a worker from before it.
    """
    connection = recovery.connection
    scan = complete_scan_of(recovery)
    if scan is None and not (command.reason and cannot_be_scanned(recovery)):
        raise Refusal(
            _(
                "The account list of %(connection)s wasn't scanned to its end since the restore. Wait for the scan, or "
                "fix what stops it."
            )
            % {"connection": connection.name}
        )
    leased = (OperationState.CLAIMED, OperationState.SENDING)
    if n := Operation.objects.filter(connection=connection, state__in=leased).count():
        raise Refusal(
            _(
                "%(n)d operations were in progress at the backup. The scheduler ends their leases within two minutes. "
                "Then try again."
            )
            % {"n": n}
        )
    with transaction.atomic():
        released = Recovery.objects.filter(pk=recovery.pk, released_at=None).update(
            released_at=command.now, released_by=command.actor, scan=scan
        )
        if not released:
            raise Refusal(_("Someone else released %(connection)s already.") % {"connection": connection.name})
        on_hold = Connection.objects.filter(pk=connection.pk, paused=Connection.Paused.BY_RESTORE)
        if not on_hold.update(
            paused=recovery.paused_before,
            paused_reason=recovery.reason_before,
            paused_at=command.now if recovery.paused_before else None,
        ):
            raise Refusal(
                _("%(provider)s rejected the key. Replace it first.") % {"provider": connection.provider_label}
            )
        command.record(verb=RELEASED, obj=connection, after={"backup_at": recovery.backup_at, "epoch": recovery.epoch})
