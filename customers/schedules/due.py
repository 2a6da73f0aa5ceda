"""Carry out scheduled changes when their time comes.

A schedule guarantees nothing. Everything is checked again when it is due, and a change that can't be made is skipped
with the reason: it does not wait for a better moment, because by then nobody expects it any more. Otherwise it becomes
one ordinary operation, in the name of its requester.

It is taken in one transaction: the row, the operation and the audit event are written together or not at all, so a
worker that dies leaves it waiting. Of two that take it at once the second finds it ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from customers.models import Account, Operation, Schedule
from customers.models.account import AccountState, as_offerings
from customers.models.operation_states import ROUTE_OF_KIND, OperationKind, OperationState
from customers.operations.commands import UnableToAsk, request_offerings, request_suspend, request_unsuspend
from customers.schedules import holds
from customers.schedules.commands import after, record_schedule_event, waiting
from portal.access.permissions import allowed
from portal.formats import ago_text, moment_text

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
        schedule.account = (
            Account.objects.select_for_update(of=("self",)).select_related("connection", "customer")
            .get(pk=schedule.account_id)
        )  # fmt: skip
        if _follow(schedule, now) and schedule.due_at > now:
            return
        why, operation = _why_not(schedule, now), None
        if not why:
            try:
                operation = _operation(schedule, now)
            except UnableToAsk as refusal:
                why = str(refusal)
        _end(schedule, operation, why or _how_late(schedule, now), now)


def _end(schedule: Schedule, operation: Operation | None, outcome: str, now: datetime) -> None:
    state = Schedule.State.DONE if operation else Schedule.State.SKIPPED
    ended = waiting(schedule.pk).update(state=state, operation=operation, outcome=outcome[:500], ended_at=now)
    if not ended:
        raise RuntimeError(f"schedule {schedule.pk} ended while it was taken")
    told = {"operation": operation.code} if operation else {"why": outcome[:500]}
    verb = "schedule.done" if operation else "schedule.skipped"
    record_schedule_event(schedule, verb, actor=None, after=told, reason=schedule.reason)


def _operation(schedule: Schedule, now: datetime) -> Operation:
    account = schedule.account
    common: dict[str, Any] = {
        "actor": schedule.requested_by, "account": account, "reason": schedule.reason, "now": now,
        "client_token": f"schedule:{schedule.public_id.hex}",
    }  # fmt: skip
    if schedule.kind == Schedule.Kind.OFFERINGS:
        return request_offerings(
            base=as_offerings(schedule.base["offerings"]), version=account.version,
            offerings=as_offerings(schedule.payload["offerings"]), **common,
        )  # fmt: skip
    return (request_suspend if schedule.kind == Schedule.Kind.SUSPEND else request_unsuspend)(**common)


def _why_not(schedule: Schedule, now: datetime) -> str:
    """Return why the change can't be made now, as a sentence; "" when it can. The request itself checks still more."""
    account, person = schedule.account, schedule.requested_by
    if not person.is_active:
        return _("%(name)s, who asked for it, does not work here any more.") % {"name": person}
    if not allowed(person.role, ROUTE_OF_KIND[OperationKind(schedule.kind)], "POST"):
        return _("The role of %(name)s, who asked for it, does not allow it any more.") % {"name": person}
    if account.connection.paused:
        return _("%(connection)s was paused.") % {"connection": account.connection.name}
    if schedule.cycle_end_on and account.usage_end_on is None:
        return _("The end of the account's cycle is not known any more.")
    hold = holds.held([account.pk], now=now).get(account.pk) if schedule.kind == Schedule.Kind.SUSPEND else None
    if hold:
        return hold.text
    return _why_not_as_it_is(schedule)


def _why_not_as_it_is(schedule: Schedule) -> str:
    """Return why the account no longer fits the schedule; "" when it does. Changes of other parts do not matter."""
    account = schedule.account
    if schedule.kind == Schedule.Kind.OFFERINGS:
        if schedule.payload["offerings"] == account.offerings == account.desired_offerings:
            return _("The account has this package already.")
        moved = account.version != schedule.base_version and _changed_since(schedule, OperationKind.OFFERINGS).exists()
        if moved or account.offerings != schedule.base["offerings"]:
            return _("The account's offerings changed since this was asked.")
        return ""
    if account.state in (AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED):
        return _("%(provider)s stopped this account itself.") % {"provider": account.provider_label}
    wanted = AccountState.STOPPED_BY_US if schedule.kind == Schedule.Kind.SUSPEND else AccountState.ACTIVE
    if account.state == account.desired_state == wanted:
        return _("It was so already.")
    # Other scheduled changes were visible when this one was requested: "unsuspend, then suspend" is a plan.
    if other := _changed_since(schedule, *OF_STATE).filter(schedule=None).order_by("-pk").first():
        return _("%(name)s asked for %(kind)s since: %(code)s.") % {
            "name": other.requested_by, "kind": other.get_kind_display(), "code": other.code,
        }  # fmt: skip
    return ""


def _changed_since(schedule: Schedule, *kinds: OperationKind) -> QuerySet[Operation]:
    since = Operation.objects.filter(account=schedule.account, kind__in=kinds, version__gt=schedule.base_version)
    return since.exclude(state__in=CAME_TO_NOTHING).select_related("requested_by")


def _how_late(schedule: Schedule, now: datetime) -> str:
    if now - schedule.due_at < LATE:
        return ""
    return _("Late: it was due %(when)s, %(ago)s.") % {
        "when": moment_text(schedule.due_at), "ago": ago_text(schedule.due_at, now=now),
    }  # fmt: skip


def _follow(schedule: Schedule, now: datetime) -> bool:
    """Move with the billing period's end, inside a transaction. Returns whether it moved."""
    start, end, was = schedule.account.usage_start_on, schedule.account.usage_end_on, schedule.cycle_end_on
    if was is None or start is None or end is None or start > was or end == was:
        return False
    moved = waiting(schedule.pk).filter(cycle_end_on=was).update(cycle_end_on=end, due_at=after(end))
    if moved:
        schedule.cycle_end_on, schedule.due_at = end, after(end)
        told = [{"cycle_end": day.isoformat()} for day in (was, end)]
        record_schedule_event(schedule, "schedule.moved", actor=None, before=told[0], after=told[1])
    return bool(moved)
