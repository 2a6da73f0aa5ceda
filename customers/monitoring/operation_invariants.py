"""Integrity checks of operations, their attempts and their steps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, F, Func, IntegerField, OuterRef, Q, Subquery, Value, Window
from django.db.models.functions import Coalesce, Lag, RowNumber
from django.utils.translation import gettext_lazy as _

from customers.models import Attempt, ChangeSet, Operation, Step
from customers.models.breaker import at_work
from customers.models.operation_states import (
    BUSY,
    FINAL,
    OVERWRITTEN,
    PERMISSION_OF_KIND,
    REPAIRED,
    STEPS,
    OperationKind,
    OperationState,
)
from customers.monitoring import approval_invariants
from customers.monitoring.invariants import Invariant
from customers.operations import idempotency
from customers.operations.outcomes import NotApplied
from portal.access.permissions import roles_of
from portal.access.role_history import custom_role_had
from portal.access.roles import Role
from portal.audit.models import AuditEvent

# An expired lease is handled by the next tick of the dispatcher; after this time it counts as left behind.
LEASE_LEFT = timedelta(seconds=60)
# How far a clock may be set back.
CLOCKS = timedelta(minutes=2)
# Permissions are those of today's table: requests since the last two nights are measured by it.
ASKED_LATELY = timedelta(days=2)
SENDS = NotApplied.sends_at_most


def busy_twice(now: datetime) -> Iterator[str]:
    """I3. Constraint `operation_one_busy_per_lane` enforces the concurrency keys. Operations of an account run one by
    one."""
    for key in _more_than_one("concurrency_key"):
        yield f"concurrency key {key}"
    for account in _more_than_one("account"):
        yield f"account {account}"


def _more_than_one(column: str) -> Iterator[str]:
    busy = Operation.objects.order_by().filter(state__in=BUSY).values(column).annotate(n=Count("pk")).filter(n__gt=1)
    return (str(value) for value in busy.values_list(column, flat=True))


def lease_left_lying(now: datetime) -> Iterator[str]:
    """I4. No lease stays expired. Unknown operations of a connection that is paused or unreachable wait for it."""
    late = Q(lease_until__lt=now - LEASE_LEFT)
    held = Q(late | Q(lease_until=None), state__in=(OperationState.CLAIMED, OperationState.SENDING))
    looking = Q(late, at_work("connection__"), state=OperationState.UNKNOWN, not_before__lt=now - LEASE_LEFT)
    for each in Operation.objects.filter(held | looking):
        until = f"{each.lease_until:%Y-%m-%d %H:%M:%S} UTC" if each.lease_until else "never"
        yield f"{each.code} is {each.state}, lease expires {until}"


def hidden_unknown(now: datetime) -> Iterator[str]:
    """I5. A send without an answer makes its operation unknown before it may become anything else."""
    told = Step.objects.filter(
        operation=OuterRef("operation"), after=OperationState.UNKNOWN, at__gte=OuterRef("intended_at")
    )
    hidden = Attempt.objects.filter(
        ~Exists(told),
        outcome__in=(Attempt.Outcome.NONE, Attempt.Outcome.UNKNOWN),
        operation__state__in=(OperationState.QUEUED, OperationState.FAILED, OperationState.CANCELLED),
    )
    for each in hidden.select_related("operation"):
        yield f"{each.operation.code} is {each.operation.state}, but the outcome of attempt {each.n} is unknown"


def created_twice(now: datetime) -> Iterator[str]:
    """I6. One create makes one account. Under an idempotency key the provider may return the same account twice;
    without one a second success is a second account."""
    applied = Count("attempts", filter=Q(attempts__outcome=Attempt.Outcome.APPLIED))
    creates = Operation.objects.filter(kind=OperationKind.CREATE).annotate(n=applied).filter(n__gt=1)
    for each in creates.select_related("connection").prefetch_related("attempts"):
        said = [one for one in each.attempts.all() if one.outcome == Attempt.Outcome.APPLIED]
        ids = {str(one.result.get("account_id", "")) for one in said}
        if len(ids) > 1 or not each.connection.capabilities.idempotent_create:
            yield f"{each.code} was applied {len(said)} times: {', '.join(sorted(ids))}"


def steps_off_the_table(now: datetime) -> Iterator[str]:
    """I7. Every step is in the table and begins where the one before ended, and the last one is the state."""
    known = Q(before="", after=OperationState.QUEUED)
    known |= Q(REPAIRED, before__in=OVERWRITTEN, after=OperationState.UNKNOWN)
    for before, ways in STEPS.items():
        known |= Q(before=before, after__in=[after.value for after in ways])
    for step in Step.objects.exclude(known).select_related("operation"):
        yield f"{step.operation.code} went from {step.before} to {step.after}"
    was = Coalesce(_along(Lag("after")), Value(""))
    repaired = Step.objects.filter(REPAIRED, operation=OuterRef("operation"), n__gt=OuterRef("n"))
    broken = Step.objects.annotate(was=was, over=Exists(repaired)).filter(~Q(before=F("was")))
    for step in broken.select_related("operation"):
        if step.over:
            continue
        code = step.operation.code
        yield f"{code} step {step.n} begins in state {step.before or 'none'} instead of {step.was or 'none'}"
    for step in Step.objects.annotate(row=_along(RowNumber())).filter(~Q(n=F("row"))):
        yield f"operation {step.operation_id} is missing a step before step {step.n}"
    last = Step.objects.filter(operation=OuterRef("pk")).order_by("-n").values("after")[:1]
    for each in Operation.objects.annotate(last=Coalesce(Subquery(last), Value(""))).filter(~Q(state=F("last"))):
        said = each.last or "none"  # type: ignore[attr-defined]  # annotated
        yield f"{each.code} is {each.state}, but its last step is {said}"


def _along(expression: Func) -> Window:
    """Return `expression` over the steps of the same operation, in their order."""
    return Window(expression, partition_by="operation", order_by="n")


def moved_after_the_end(now: datetime) -> Iterator[str]:
    """I8. Nothing is sent and nothing moves once an operation has ended. A late answer to an earlier send may come.

    Decided by the order of the steps: the clocks of two workers need not agree, nor one with itself.
    """
    since = Step.objects.filter(
        REPAIRED, operation=OuterRef("operation"), n__gt=OuterRef("n"), n__lte=OuterRef(OuterRef("n"))
    )
    ended = Step.objects.filter(~Exists(since), operation=OuterRef("operation"), after__in=FINAL, n__lt=OuterRef("n"))
    for step in Step.objects.filter(Exists(ended)).select_related("operation"):
        yield f"{step.operation.code} changed to {step.after} after it finished"
    late = Q(intended_at__gt=F("operation__finished_at") + CLOCKS)
    for each in Attempt.objects.filter(late).select_related("operation"):
        yield f"{each.operation.code} was sent after it finished (attempt {each.n})"


def sent_too_often(now: datetime) -> Iterator[str]:
    """I9. Every send has its attempt; and there are no more sends with an unknown outcome than the kind allows, and one
    for each manual resend."""
    made = Attempt.objects.filter(operation=OuterRef("pk")).order_by().values("operation").annotate(n=Count("pk"))
    counted = Operation.objects.annotate(made=Coalesce(Subquery(made.values("n")), 0, output_field=IntegerField()))
    for each in counted.filter(~Q(attempt_count=F("made"))):
        made = each.made  # type: ignore[attr-defined]  # annotated
        yield f"{each.code} has {made} attempts, but its counter is {each.attempt_count}"
    unsure = Q(attempts__outcome__in=(Attempt.Outcome.NONE, Attempt.Outcome.UNKNOWN))
    often = Operation.objects.annotate(n=Count("attempts", filter=unsure)).filter(n__gt=SENDS)
    for each in often.select_related("connection").prefetch_related("steps"):
        may = idempotency.SENDS_AT_MOST if each.connection.capabilities.idempotent_create else SENDS
        may += idempotency.DELETES_MORE if each.kind == OperationKind.KEY_CREATE else 0
        may += sum(
            step.after == OperationState.QUEUED and step.n > 1 and step.by_id is not None for step in each.steps.all()
        )
        unanswered = each.n  # type: ignore[attr-defined]
        if unanswered > may:
            yield f"{each.code} was sent {unanswered} times without a response, but at most {may} are allowed"


def approved_by_who_asked(now: datetime) -> Iterator[str]:
    """I17. Constraints of change sets and requests enforce it too; this finds a database that lost them, a delete or a
    long run whose approval was for another plan, and a change that a rule covers without approval and break-glass."""
    for each in ChangeSet.objects.filter(approved_by=F("requested_by")):
        yield f"{each.code} was approved by its requester"
    ran = ChangeSet.objects.filter(second_person=True, items__operation__isnull=False).distinct()
    for each in ran.filter(Q(approved_by=None) | ~Q(approved_hash=F("plan_hash"))):
        yield f"{each.code} was applied without approval of its plan"
    yield from approval_invariants.decided_by_requester()
    yield from approval_invariants.changed_without_approval()


def without_the_right(now: datetime) -> Iterator[str]:
    """I18. Requesters had the permission. The role is the one in the audit log's first event about an operation, and a
    custom one counts with the permissions it had then."""
    asked = AuditEvent.objects.filter(object_id=OuterRef("public_id")).order_by("id")
    role = Coalesce(Subquery(asked.values("actor_role")[:1]), Value(""))
    event_id = Coalesce(Subquery(asked.values("id")[:1]), Value(0))
    lately = Operation.objects.filter(created_at__gt=now - ASKED_LATELY).annotate(role=role, event_id=event_id)
    for kind, permission in PERMISSION_OF_KIND.items():
        doubtful: Any = lately.filter(kind=kind).exclude(role__in=roles_of(permission))
        for each in doubtful:
            built_in = not each.role or each.role in Role.values
            if not built_in and custom_role_had(each.role, permission, event_id=each.event_id):
                continue
            who = each.role or "a role missing from the audit log"
            yield f"{each.code} {each.kind} was requested by {who}"


INVARIANTS = (
    Invariant("I3", _("At most one operation runs at a time per account and per concurrency key."), busy_twice),
    Invariant(
        "I4", _("No operation is stuck: another worker picks up operations with an expired lease."), lease_left_lying
    ),
    Invariant("I5", _("Every request without a response was marked as outcome unknown."), hidden_unknown),
    Invariant("I6", _("Each create operation created only one account."), created_twice),
    Invariant("I7", _("Every operation followed the allowed state transitions."), steps_off_the_table),
    Invariant("I8", _("No operation changed or was sent after it finished."), moved_after_the_end),
    Invariant("I9", _("No request was sent more often than its operation type allows."), sent_too_often),
    Invariant("I17", _("No one approved their own request."), approved_by_who_asked),
    Invariant("I18", _("Every requester had the required permission."), without_the_right),
)
