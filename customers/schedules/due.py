"""Carry out scheduled changes when their time comes.

Everything is checked again when a schedule is due, and a change that can't be made is skipped
with the reason: it does not wait for a better moment, because by then nobody expects it anymore. Otherwise it becomes
one ordinary operation, in the name of its requester.

It is taken in one transaction: the row, the operation and the audit event are written together or not at all, so a
worker that dies leaves it waiting. Of two that take it at once the second finds it ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from customers.models import Account, Hold, Operation, Schedule
from customers.models.account import AccountState
from customers.models.operation_states import PERMISSION_OF_KIND, OperationKind, OperationState
from customers.operations import bulk_limit
from customers.operations.commands import request_planned
from customers.operations.request import why_state_is_fixed
from customers.schedules.commands import after, waiting
from portal.commands import Command
from portal.formats import ago_text, moment_text
from portal.refusals import Refusal

RUN_SCHEDULE = "customers.take_schedule"
AT_ONCE = 100
# A few seconds pass between the time and the dispatcher's check; that is not late.
LATE = timedelta(minutes=10)
OF_STATE = (OperationKind.SUSPEND, OperationKind.UNSUSPEND, OperationKind.DELETE)
CAME_TO_NOTHING = (OperationState.FAILED, OperationState.CANCELLED)


def due_schedules_now(*, now: datetime) -> list[int]:
    found = Schedule.objects.filter(state=Schedule.State.WAITING, due_at__lte=now).order_by("due_at", "pk")
    return list(found.values_list("pk", flat=True)[:AT_ONCE])


def follow_cycles(*, now: datetime) -> None:
    """Move changes that wait for the end of a billing period when usage is read again and the end is another."""
    same_cycle = Q(account__usage_start_on__lte=F("cycle_end_on"), account__usage_end_on__isnull=False)
    moved = Schedule.objects.filter(same_cycle, state=Schedule.State.WAITING).exclude(
        account__usage_end_on=F("cycle_end_on")
    )
    for schedule in moved.select_related("account__customer")[:AT_ONCE]:
        with transaction.atomic():
            _follow(schedule, now)


def run_schedule(schedule_id: int, *, now: datetime) -> None:
    """Request a due change, or skip it with the reason. Late, early, twice or two at once: it happens once."""
    with transaction.atomic():
        taken = Schedule.objects.filter(pk=schedule_id, state=Schedule.State.WAITING, due_at__lte=now)
        if not taken.update(version=F("version") + 1):  # locks the row until the end: a second worker finds it ended
            return
        schedule = Schedule.objects.select_related("requested_by").get(pk=schedule_id)
        if schedule.kind == Schedule.Kind.SUSPEND:
            bulk_limit.lock_rule()  # before the account
        schedule.account = (
            Account.objects.select_for_update(of=("self",))
            .select_related("connection", "customer")
            .get(pk=schedule.account_id)
        )
        if _follow(schedule, now) and schedule.due_at > now:
            return
        why, operation = _why_not(schedule, now), None
        if not why:
            try:
                operation = _operation(schedule, now)
            except Refusal as refusal:
                why = str(refusal)
        _end(schedule, operation, why or _how_late(schedule, now), now)


def _end(schedule: Schedule, operation: Operation | None, outcome: str, now: datetime) -> None:
    state = Schedule.State.DONE if operation else Schedule.State.SKIPPED
    ended = waiting(schedule.pk).update(state=state, operation=operation, outcome=outcome[:500], ended_at=now)
    if not ended:
        raise RuntimeError(f"schedule {schedule.pk} ended while it was being claimed")
    told = {"operation": operation.code} if operation else {"why": outcome[:500]}
    verb = "schedule.done" if operation else "schedule.skipped"
    Command(None, reason=schedule.reason).record(verb=verb, obj=schedule, after=told)


def _operation(schedule: Schedule, now: datetime) -> Operation:
    account, kind = schedule.account, OperationKind(schedule.kind)
    token = f"schedule:{schedule.public_id.hex}"
    command = Command(schedule.requested_by, now, reason=schedule.reason, token=token)
    return request_planned(
        command, kind, account, version=account.version, before=schedule.base, after=schedule.payload
    )


def _why_not(schedule: Schedule, now: datetime) -> str:
    """Return why the change can't be made now, as a sentence; "" when it can. The request itself checks still more."""
    account, person = schedule.account, schedule.requested_by
    if not person.is_active:
        return _("%(name)s, who requested it, is no longer an active team member.") % {"name": person}
    if not person.may(PERMISSION_OF_KIND[schedule.kind]):
        return _("The role of %(name)s, who requested it, no longer allows it.") % {"name": person}
    if account.connection.paused:
        return _("%(connection)s was paused.") % {"connection": account.connection.name}
    if schedule.cycle_end_on and account.usage_end_on is None:
        return _("The end of the account's billing period is no longer known.")
    hold = Hold.objects.of(account.pk, now=now) if schedule.kind == Schedule.Kind.SUSPEND else None
    if hold:
        return hold.text
    return _why_not_as_it_is(schedule)


def _why_not_as_it_is(schedule: Schedule) -> str:
    """Return why the account no longer fits the schedule; "" when it does. Changes of other parts do not matter."""
    account = schedule.account
    if schedule.kind == Schedule.Kind.OFFERINGS:
        if schedule.payload["offerings"] == account.offerings == account.desired_offerings:
            return _("The account already has this package.")
        moved = account.version != schedule.base_version and _changed_since(schedule, OperationKind.OFFERINGS).exists()
        if moved or account.offerings != schedule.base["offerings"]:
            return _("The account's offerings changed after this was scheduled.")
        return ""
    if why := why_state_is_fixed(account):
        return why
    wanted = AccountState.STOPPED_BY_US if schedule.kind == Schedule.Kind.SUSPEND else AccountState.ACTIVE
    if account.state == account.desired_state == wanted:
        return _("The account was already in this state.")
    # Other scheduled changes were visible when this one was requested: "unsuspend, then suspend" is a plan.
    if other := _changed_since(schedule, *OF_STATE).filter(schedule=None).order_by("-pk").first():
        return _("%(name)s has since requested “%(kind)s” (%(code)s).") % {
            "name": other.requested_by,
            "kind": other.get_kind_display(),
            "code": other.code,
        }
    return ""


def _changed_since(schedule: Schedule, *kinds: OperationKind) -> QuerySet[Operation]:
    since = Operation.objects.filter(account=schedule.account, kind__in=kinds, version__gt=schedule.base_version)
    return since.exclude(state__in=CAME_TO_NOTHING).select_related("requested_by")


def _how_late(schedule: Schedule, now: datetime) -> str:
    if now - schedule.due_at < LATE:
        return ""
    return _("Ran late. It was due %(when)s (%(ago)s).") % {
        "when": moment_text(schedule.due_at),
        "ago": ago_text(schedule.due_at, now=now),
    }


def _follow(schedule: Schedule, now: datetime) -> bool:
    """Move with the billing period's end, inside a transaction. Returns whether it moved."""
    start, end, was = schedule.account.usage_start_on, schedule.account.usage_end_on, schedule.cycle_end_on
    if was is None or start is None or end is None or start > was or end == was:
        return False
    moved = waiting(schedule.pk).filter(cycle_end_on=was).update(cycle_end_on=end, due_at=after(end))
    if moved:
        schedule.cycle_end_on, schedule.due_at = end, after(end)
        told = [{"cycle_end": day.isoformat()} for day in (was, end)]
        Command(None).record(verb="schedule.moved", obj=schedule, before=told[0], after=told[1])
    return bool(moved)
