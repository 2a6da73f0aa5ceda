"""Queries of the page "Recovery": what happened at the providers since the backup, for each connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q

from customers.models import Account, Operation, Recovery, RemoteAccount, Scan, Schedule
from customers.models.account import AccountState
from customers.models.operation_states import OperationState
from customers.reconcile.drift import drifting
from customers.recovery import commands

SHOWN = 20


@dataclass(frozen=True)
class HeldConnection:
    """A connection on hold. `created` are accounts at the provider that were made since the backup, `missing` ours that
    it no longer lists, `different` ours that differ in anything, as far as they were `read` since the restore."""

    recovery: Recovery
    scan: Scan | None
    created: list[RemoteAccount]
    created_count: int
    missing: int
    different: int
    read: int
    accounts: int
    operations: dict[str, int]
    schedules: int

    @property
    def is_scanned(self) -> bool:
        return self.scan is not None and self.scan.state == Scan.State.COMPLETE

    @property
    def has_failed(self) -> bool:
        return commands.cannot_be_scanned(self.recovery)

    @property
    def created_more(self) -> int:
        return self.created_count - len(self.created)


def connections_on_hold() -> dict[str, Any]:
    """Return what the page shows. The number of queries depends on the number of connections alone."""
    on_hold = Recovery.objects.filter(released_at=None).select_related("connection").order_by("connection__name")
    ended = Recovery.objects.exclude(released_by=None).select_related("connection", "released_by")
    return {
        "held": [_held_connection(each) for each in on_hold],
        "released": list(ended.order_by("-released_at")[:SHOWN]),
    }


def _held_connection(recovery: Recovery) -> HeldConnection:
    connection, since = recovery.connection, recovery.began_at
    scans = commands.scans_of(recovery)
    new = RemoteAccount.objects.filter(connection=connection, pk__gt=recovery.remote_account_mark).orphans()
    ours = Account.objects.filter(connection=connection, provider_id__isnull=False, duplicate_of=None)
    ours = ours.exclude(state=AccountState.DELETED)
    gone = RemoteAccount.objects.filter(connection=connection, missing_since__gte=since)
    waiting = Operation.objects.filter(connection=connection)
    return HeldConnection(
        recovery=recovery,
        scan=commands.complete_scan_of(recovery) or scans.first(),
        created=list(new.order_by("-made_at", "provider_id")[:SHOWN]),
        created_count=new.count(),
        missing=gone.filter(provider_id__in=ours.values("provider_id")).count(),
        different=drifting(ours).count(),
        **ours.aggregate(accounts=Count("pk"), read=Count("pk", filter=Q(state_read_at__gte=since))),
        operations=waiting.aggregate(
            queued=Count("pk", filter=Q(state=OperationState.QUEUED, recovery=None)),
            searched=Count(
                "pk", filter=Q(state=OperationState.UNKNOWN) | Q(state=OperationState.QUEUED) & ~Q(recovery=None)
            ),
            review=Count("pk", filter=Q(state=OperationState.NEEDS_ATTENTION)),
        ),
        schedules=Schedule.objects.filter(
            account__connection=connection,
            state=Schedule.State.WAITING,
            due_at__gte=recovery.backup_at,
            due_at__lte=since,
        ).count(),
    )
