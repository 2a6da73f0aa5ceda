"""Retention of what the portal stores about changes, imports, and account list scans.

Operations with their steps and attempts stay: integrity checks and the search for unknown creates read them. Only the
bodies of attempts are removed.
"""

from __future__ import annotations

from datetime import datetime

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
from customers.models.operation_states import OPEN, OperationKind
from customers.models.schedule import Hold
from customers.models.submission import Submission
from portal.audit.permits import permit_erasure
from portal.clock import database_now
from portal.retention.rules import RetentionRule


def _attempts(before: datetime) -> QuerySet[Attempt]:
    """Return attempts with a body, of operations that finished before. Open ones have no time at which they did."""
    return Attempt.objects.filter(
        Q(answered_at=None) | Q(answered_at__lt=before),
        ~Q(request="") | ~Q(response=""),
        operation__finished_at__lt=before,
    )


def _remove_bodies(before: datetime, limit: int) -> int:
    """Empty the bodies of a batch of attempts, and store when."""
    ids = list(_attempts(before).order_by("pk").values_list("pk", flat=True)[:limit])
    with permit_erasure(Attempt, ids):
        Attempt.objects.filter(pk__in=ids).update(request="", response="", bodies_removed_at=database_now())
    return len(ids)


def _bulk_changes(before: datetime) -> QuerySet[ChangeSet]:
    """Return bulk changes that ended before, and drafts from before. Those that deleted accounts are the proof that the
    deletions were approved (integrity check I17)."""
    state = ChangeSet.State
    ended = Q(state__in=(state.ENDED, state.CANCELLED, state.REFUSED), finished_at__lt=before)
    draft = Q(state=state.PLANNED, created_at__lt=before)
    open_ones = ChangeSetItem.objects.filter(change_set=OuterRef("pk"), operation__state__in=OPEN)
    proof = Q(kind=ChangeSet.Kind.DELETE) & ~Q(state=state.PLANNED)
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
    on_hold = Q(connection=OuterRef("connection"), released_at=None)
    recoveries = Recovery.objects.filter(Q(scan=OuterRef("pk")) | on_hold)
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


RULES = (
    RetentionRule(
        "attempt_bodies",
        _("Bodies of requests to providers"),
        removes=_("Request and response bodies of finished operations, from which keys are redacted already."),
        keeps=_("Operations, their steps, and each attempt with its time and outcome: integrity checks need them."),
        rows=_attempts,
        remove=_remove_bodies,
        days=180,
        least=30,
        may_keep=True,
    ),
    RetentionRule(
        "bulk_changes",
        _("Bulk changes"),
        removes=_("Bulk changes that ended, and drafts that were never applied, with their accounts."),
        keeps=_("Operations that they requested, and requested deletions of accounts, which prove the approval."),
        rows=_bulk_changes,
        parts=((ChangeSetItem, "change_set"),),
        days=730,
        least=90,
        may_keep=True,
    ),
    RetentionRule(
        "account_imports",
        _("Imports of accounts"),
        removes=_("Imports that ended, with the rows and email addresses of their lists."),
        keeps=_("The accounts and customers that were imported, and imports that wait for a decision."),
        rows=_imports,
        parts=((AccountImportItem, "account_import"),),
        days=365,
        least=30,
        may_keep=True,
    ),
    RetentionRule(
        "scans",
        _("Account list scans"),
        removes=_("Scans that ended, with their counts."),
        keeps=_(
            "The last scans of each connection, those that a recovery was based on, and all scans of a connection with "
            "an unfinished account creation or on hold."
        ),
        rows=_scans,
        days=90,
        least=14,
        may_keep=True,
    ),
    RetentionRule(
        "remote_accounts",
        _("Accounts that a provider no longer lists"),
        removes=_("Unlinked accounts missing from the provider's list, with their names and email addresses."),
        keeps=_("Linked accounts, accounts in a stored import, and possible duplicates."),
        rows=_remote_accounts,
        days=365,
        least=30,
        may_keep=True,
    ),
    RetentionRule(
        "schedules",
        _("Scheduled changes"),
        removes=_("Scheduled changes that were requested, skipped, or canceled."),
        keeps=_("Scheduled changes that wait, and the operations that others requested."),
        rows=_schedules,
        days=730,
        least=90,
        may_keep=True,
    ),
    RetentionRule(
        "holds",
        _("“Do not suspend” marks"),
        removes=_("Marks that were released or expired, with their reasons."),
        keeps=_("Marks that are in force."),
        rows=_holds,
        days=730,
        least=90,
        may_keep=True,
    ),
    RetentionRule(
        "submissions",
        _("Submitted forms"),
        removes=_("Tokens of submitted forms, by which a form that is sent twice is recognized."),
        keeps=_("What the forms requested."),
        rows=_submissions,
        days=90,
        least=7,
    ),
    RetentionRule(
        "integrity_checks",
        _("Results of integrity checks"),
        removes=_("Results of past nights."),
        keeps=_("The last result, which System status shows."),
        rows=_checks,
        days=60,
        least=7,
    ),
)
