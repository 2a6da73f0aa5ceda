"""Commands on scheduled changes: request, edit and cancel.

What happens when the time comes is in `customers.schedules.due`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.models import Account, Schedule
from customers.models.account import AccountState, as_rows
from customers.models.operation_states import OperationKind
from customers.observed import duplicates
from customers.operations.commands import UnableToAsk
from customers.operations.kinds.offerings import check_offerings
from customers.operations.request import need_reason, permit, permit_role
from customers.operations.submissions import submit_once
from portal import audit
from portal.access.models import User
from portal.providers import ProviderOffering
from portal.providers import ReportedState as TheirState

# The farthest date that can be scheduled: a wrong year is caught here.
FARTHEST = timedelta(days=731)


class EditedMeanwhile(UnableToAsk):
    """The schedule still waits, but in another version than the one that was edited. Nothing was written."""


# --- When ---------------------------------------------------------------------------------------------------------


def cycle_end(account: Account, *, now: datetime) -> date | None:
    """Return the last day of the account's billing period as usage was last read; None where it is unknown or over."""
    end = account.usage_end_on
    return end if end is not None and after(end) > now else None


def after(day: date) -> datetime:
    """Return the first moment of the next billing period. Periods are whole days in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)


def kinds_for(account: Account) -> list[Schedule.Kind]:
    """Return the changes that can be scheduled for this account, whatever the role."""
    can = account.connection.capabilities
    states = [Schedule.Kind.SUSPEND, Schedule.Kind.UNSUSPEND] if TheirState.STOPPED_BY_US in can.writable_states else []
    return states + ([Schedule.Kind.OFFERINGS] if can.offerings else [])


# --- Commands -----------------------------------------------------------------------------------------------------


def schedule_change(
    *,
    actor: User,
    account: Account,
    kind: str,
    due_at: datetime | None,
    reason: str,
    client_token: str,
    now: datetime,
    offerings: list[ProviderOffering] | None = None,
    request: HttpRequest | None = None,
) -> Schedule:
    """Schedule a change; `due_at` None is the end of the account's billing period. Raises `UnableToAsk`.

    The same form submitted twice by the same user is one schedule: the first is returned.
    """

    def make() -> Schedule:
        locked = Account.objects.select_for_update(of=("self",)).select_related("connection", "customer").get(
            pk=account.pk
        )  # fmt: skip
        facts = _facts(actor, locked, Schedule.Kind(kind), due_at=due_at, reason=reason, offerings=offerings, now=now)
        schedule = Schedule.objects.create(
            account=locked, kind=kind, client_token=client_token, created_at=now, requested_by=actor, **facts
        )
        record_schedule_event(
            schedule, "schedule.asked", actor=actor, after=_told(schedule), reason=reason, request=request
        )
        return schedule

    return submit_once(
        Schedule, actor=actor, client_token=client_token, kind=f"schedule.{kind}", target=account,
        content={"due_at": due_at, "offerings": offerings, "reason": reason}, now=now, make=make,
    )  # fmt: skip


def edit_schedule(
    *,
    actor: User,
    schedule: Schedule,
    version: int,
    due_at: datetime | None,
    reason: str,
    now: datetime,
    offerings: list[ProviderOffering] | None = None,
    request: HttpRequest | None = None,
) -> Schedule:
    """Change a waiting schedule. The editor saw the account as it is, and becomes the requester from now on. `version`
    is the schedule's as they saw it. Raises `UnableToAsk`."""
    with transaction.atomic():
        if not waiting(schedule.pk).filter(version=version).update(version=F("version") + 1):
            if waiting(schedule.pk).exists():
                raise EditedMeanwhile(_("Someone changed this schedule while you were editing. Nothing was saved."))
            raise UnableToAsk(_("It no longer waits: its time came, or someone cancelled it. Nothing was saved."))
        before = Schedule.objects.select_related("account__connection", "account__customer").get(pk=schedule.pk)
        facts = _facts(
            actor,
            before.account,
            Schedule.Kind(before.kind),
            due_at=due_at,
            reason=reason,
            offerings=offerings,
            now=now,
        )
        told = _told(before)
        if before.requested_by_id != actor.pk:  # the token was another user's, and must not meet one of this one's
            facts |= {"requested_by": actor, "client_token": before.public_id.hex}
        waiting(schedule.pk).update(**facts)
        edited = Schedule.objects.select_related("account__customer").get(pk=schedule.pk)
        record_schedule_event(
            edited, "schedule.edited", actor=actor, before=told, after=_told(edited), reason=reason, request=request
        )  # fmt: skip
    return edited


def cancel_schedule(*, actor: User, schedule: Schedule, now: datetime, request: HttpRequest | None = None) -> None:
    """Cancel a waiting schedule. Refuses politely where its time has come. Raises `UnableToAsk`."""
    permit_role(actor, OperationKind(schedule.kind))
    with transaction.atomic():
        ended = {"state": Schedule.State.CANCELLED, "ended_at": now, "outcome": _("By %(name)s.") % {"name": actor}}
        if not waiting(schedule.pk).update(**ended):
            raise UnableToAsk(_("Its time has come already. It can't be cancelled any more."))
        schedule.refresh_from_db()  # it may have been edited since it was shown
        record_schedule_event(schedule, "schedule.cancelled", actor=actor, before=_told(schedule), request=request)


def _facts(
    actor: User,
    account: Account,
    kind: Schedule.Kind,
    *,
    due_at: datetime | None,
    reason: str,
    offerings: list[ProviderOffering] | None,
    now: datetime,
) -> dict[str, Any]:
    """Return the columns of a schedule as requested now, for the account as it is now. Raises `UnableToAsk`."""
    permit(actor, account.connection, OperationKind(kind))
    need_reason(account.connection, reason, shown=kind == Schedule.Kind.SUSPEND)
    if account.duplicate_of_id is not None:
        raise UnableToAsk(duplicates.refusal(account))
    if not account.provider_id or account.state == AccountState.DELETED:
        raise UnableToAsk(_("There is no account at the provider to change."))
    if kind not in kinds_for(account):
        raise UnableToAsk(_("%(provider)s does not offer this.") % {"provider": account.provider_label})
    end = None if due_at else cycle_end(account, now=now)
    due_at = due_at or (after(end) if end else None)
    if due_at is None:
        raise UnableToAsk(_("The end of the cycle is not known. Choose a date."), field="when")
    if due_at <= now:
        raise UnableToAsk(_("Choose a time to come."), field="on")
    if due_at > now + FARTHEST:
        raise UnableToAsk(_("That is more than two years ahead. Check the year."), field="on")
    return {
        "payload": _payload(account, kind, offerings),
        "base": {"state": account.state, "offerings": account.offerings},
        "base_version": account.version,
        "reason": reason.strip(),
        "due_at": due_at,
        "cycle_end_on": end,
        "zone": timezone.get_current_timezone_name(),
    }


def _payload(account: Account, kind: Schedule.Kind, offerings: list[ProviderOffering] | None) -> dict[str, Any]:
    if kind != Schedule.Kind.OFFERINGS:
        return {}
    if account.offerings is None:
        raise UnableToAsk(_("The account's offerings were not read yet. Read the account first."), field="package")
    check_offerings(offerings or [])
    rows = as_rows(offerings or [])
    if rows == account.offerings:
        raise UnableToAsk(_("This is the package the account has."), field="package")
    return {"offerings": rows}


def waiting(schedule_id: int) -> QuerySet[Schedule]:
    """Return the row while its time has not come: every change of it uses this, so that one of two loses."""
    return Schedule.objects.filter(pk=schedule_id, state=Schedule.State.WAITING)


def _told(schedule: Schedule) -> dict[str, Any]:
    facts: dict[str, Any] = {"what": schedule.kind, "due": schedule.due_at.isoformat()}
    if schedule.cycle_end_on:
        facts["cycle_end"] = schedule.cycle_end_on.isoformat()
    facts.update(schedule.payload)
    return facts


def record_schedule_event(
    schedule: Schedule,
    verb: str,
    *,
    actor: User | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    request: HttpRequest | None = None,
) -> None:
    account = schedule.account
    audit.record(
        actor=actor, verb=verb, obj=schedule, customer=account.customer, account=account, before=before, after=after,
        reason=reason, request=request,
    )  # fmt: skip
