"""Retention of what the portal stores about changes, imports, and account list scans.

Operations with their steps and attempts stay: integrity checks and the search for unknown creates read them. Only the
bodies of attempts are removed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext_lazy as _

from customers.models import (
    AccountImport,
    AccountImportItem,
    Attempt,
    ChangeSet,
    ChangeSetItem,
    InvariantCheck,
    Operation,
    Recovery,
    RemoteAccount,
    Scan,
    Schedule,
)
from customers.models.operation_states import FINAL, OPEN, OperationKind
from customers.models.schedule import Hold
from customers.models.submission import Submission
from portal.row_updates import now_or_null
from portal.retention.rules import RetentionRule


def _attempts(before: datetime) -> QuerySet[Attempt]:
    """Return attempts with a body, of operations that finished before."""
    return Attempt.objects.filter(
        Q(answered_at=None) | Q(answered_at__lt=before),
        ~Q(request="") | ~Q(response=""),
        operation__state__in=FINAL,
        operation__finished_at__lt=before,
    )


def _bulk_changes(before: datetime) -> QuerySet[ChangeSet]:
    """Return bulk changes that ended before, and drafts from before. Those that deleted accounts are the proof that the
    deletions were approved (integrity check I17)."""
    State = ChangeSet.State
    ended = Q(state__in=(State.ENDED, State.CANCELLED, State.REFUSED), finished_at__lt=before)
    draft = Q(state=State.PLANNED, created_at__lt=before)
    open_ones = ChangeSetItem.objects.filter(change_set=OuterRef("pk"), operation__state__in=OPEN)
    proof = Q(kind=ChangeSet.Kind.DELETE, submitted_at__isnull=False)
    return ChangeSet.objects.filter(ended | draft).exclude(proof).filter(~Exists(open_ones))


def _imports(before: datetime) -> QuerySet[AccountImport]:
    return AccountImport.objects.filter(state=AccountImport.State.ENDED, finished_at__lt=before)


def _open_creates() -> QuerySet[Operation]:
    """Return creates that aren't finished: their search reads the scans and remote accounts of their connection."""
    return Operation.objects.filter(kind=OperationKind.CREATE, state__in=OPEN)


def _scans(before: datetime) -> QuerySet[Scan]:
    """Return scans that ended before, but of each connection not the last one, the last complete one, and the last one
    that measured the provider's clock."""
    same = Scan.objects.filter(connection=OuterRef("connection"))
    complete = same.filter(state=Scan.State.COMPLETE)
    measured = same.filter(clock_skew__isnull=False)
    creates = _open_creates().filter(connection=OuterRef("connection"))
    recoveries = Recovery.objects.filter(Q(scan=OuterRef("pk")) | Q(connection=OuterRef("connection"), released_at=None))
    old = Scan.objects.exclude(state=Scan.State.RUNNING).filter(finished_at__lt=before)
    last = [
        Subquery(rows.order_by(*order).values("pk")[:1])
        for rows, order in (
            (same, ("-pk",)),
            (same, ("-started_at", "-pk")),
            (complete, ("-started_at", "-pk")),
            (measured, ("-pk",)),
        )
    ]
    kept = Q()
    found = old.filter(~Exists(creates), ~Exists(recoveries))
    for n, each in enumerate(last):
        found = found.annotate(**{f"last_{n}": each})
        kept |= Q(pk=F(f"last_{n}"))
    return found.exclude(kept)


def _remote_accounts(before: datetime) -> QuerySet[RemoteAccount]:
    """Return accounts that the provider's list lacks since before, and that nothing of ours names."""
    items = AccountImportItem.objects.filter(remote_account=OuterRef("pk"))
    creates = _open_creates().filter(connection=OuterRef("connection"))
    gone = RemoteAccount.objects.unmapped().filter(gone_at__lt=before, possible_duplicate_of=None)
    return gone.filter(~Exists(items), ~Exists(creates))


def _schedules(before: datetime) -> QuerySet[Schedule]:
    return Schedule.objects.exclude(state=Schedule.State.WAITING).filter(ended_at__lt=before)


def _holds(before: datetime) -> QuerySet[Hold]:
    return Hold.objects.filter(Q(released_at__lt=before) | Q(until__lt=before))


def _submissions(before: datetime) -> QuerySet[Submission]:
    return Submission.objects.filter(submitted_at__lt=before)


def _checks(before: datetime) -> QuerySet[InvariantCheck]:
    last = InvariantCheck.objects.exclude(finished_at=None).values_list("pk", flat=True)[:1]
    return InvariantCheck.objects.filter(started_at__lt=before).exclude(pk__in=list(last))
