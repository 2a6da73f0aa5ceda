"""Commands on scheduled changes: request, edit and cancel.

What happens when the time comes is in `customers.schedules.due`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.models import Account, Schedule
from customers.models.account import as_rows
from customers.models.operation_states import PERMISSION_OF_KIND, OperationKind
from customers.operations import bulk_limit
from customers.operations.kinds.offerings import check_offerings
from customers.operations.request import need_reason, permit, why_unavailable
from customers.operations.submissions import submit_once
from portal.access.permissions import require
from portal.commands import Command
from portal.providers import ProviderOffering
from portal.providers import ReportedState as TheirState
from portal.refusals import Refusal

# The farthest date that can be scheduled: a wrong year is caught here.
FARTHEST = timedelta(days=731)


class EditedMeanwhile(Refusal):
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
    command: Command,
    *,
    account: Account,
    kind: str,
    due_at: datetime | None,
    offerings: list[ProviderOffering] | None = None,
) -> Schedule:
    """Schedule a change; `due_at` None is the end of the account's billing period. Raises `Refusal`.

    The same form submitted twice by the same user is one schedule: the first is returned.
    """

    def make() -> Schedule:
        rule = bulk_limit.lock_rule() if kind == Schedule.Kind.SUSPEND else None
        locked = (
            Account.objects.select_for_update(of=("self",)).select_related("connection", "customer").get(pk=account.pk)
        )
        facts = _facts(command, locked, Schedule.Kind(kind), due_at, offerings)
        bulk_limit.refuse_schedule(rule, command.person, locked, due_at=facts["due_at"])
        schedule = Schedule.objects.create(
            account=locked,
            kind=kind,
            client_token=command.token,
            created_at=command.now,
            requested_by=command.person,
            **facts,
        )
        command.record(verb="schedule.asked", obj=schedule, after=_told(schedule))
        return schedule

    return submit_once(
        command,
        Schedule,
        kind=f"schedule.{kind}",
        target=account,
        content={"due_at": due_at, "offerings": offerings},
        make=make,
    )


def edit_schedule(
    command: Command,
    *,
    schedule: Schedule,
    version: int,
    due_at: datetime | None,
    offerings: list[ProviderOffering] | None = None,
) -> Schedule:
    """Change a waiting schedule. The editor saw the account as it is, and becomes the requester from now on. `version`
    is the schedule's as they saw it. Raises `Refusal`."""
    with transaction.atomic():
        if not waiting(schedule.pk).filter(version=version).update(version=F("version") + 1):
            if waiting(schedule.pk).exists():
                raise EditedMeanwhile(
                    _("Someone else edited this scheduled change in the meantime. Nothing was saved.")
                )
            raise Refusal(_("This scheduled change has already run or was canceled. Nothing was saved."))
        before = Schedule.objects.select_related("account__connection", "account__customer").get(pk=schedule.pk)
        facts = _facts(command, before.account, Schedule.Kind(before.kind), due_at, offerings)
        rule = bulk_limit.lock_rule() if before.kind == Schedule.Kind.SUSPEND else None
        bulk_limit.refuse_schedule(rule, command.person, before.account, due_at=facts["due_at"])
        told = _told(before)
        # The token was another user's, and must not meet one of this one's.
        if before.requested_by_id != command.person.pk:
            facts |= {"requested_by": command.person, "client_token": before.public_id.hex}
        waiting(schedule.pk).update(**facts)
        edited = Schedule.objects.select_related("account__customer").get(pk=schedule.pk)
        command.record(verb="schedule.edited", obj=edited, before=told, after=_told(edited))
    return edited


def cancel_schedule(command: Command, *, schedule: Schedule) -> None:
    """Cancel a waiting schedule. Refuses politely where its time has come. Raises `Refusal`."""
    require(command.person, PERMISSION_OF_KIND[schedule.kind])
    with transaction.atomic():
        ended = {
            "state": Schedule.State.CANCELLED,
            "ended_at": command.now,
            "outcome": _("By %(name)s.") % {"name": command.person},
        }
        if not waiting(schedule.pk).update(**ended):
            raise Refusal(_("This scheduled change has already run or was canceled."))
        schedule.refresh_from_db()  # it may have been edited since it was shown
        command.record(verb="schedule.cancelled", obj=schedule, before=_told(schedule))


def _facts(
    command: Command,
    account: Account,
    kind: Schedule.Kind,
    due_at: datetime | None,
    offerings: list[ProviderOffering] | None,
) -> dict[str, Any]:
    """Return the columns of a schedule as requested now, for the account as it is now. Raises `Refusal`."""
    permit(command.person, account.connection, OperationKind(kind))
    need_reason(account.connection, command.reason, shown=kind == Schedule.Kind.SUSPEND)
    if why := why_unavailable(account):
        raise Refusal(why)
    if kind not in kinds_for(account):
        raise Refusal(_("%(provider)s doesn't support this change.") % {"provider": account.provider_label})
    end = None if due_at else cycle_end(account, now=command.now)
    due_at = due_at or (after(end) if end else None)
    if due_at is None:
        raise Refusal(_("The end of the billing period is unknown. Select a date."), field="when")
    if due_at <= command.now:
        raise Refusal(_("Select a future time."), field="on")
    if due_at > command.now + FARTHEST:
        raise Refusal(_("That is more than two years ahead. Check the year."), field="on")
    return {
        "payload": _payload(account, kind, offerings),
        "base": {"state": account.state, "offerings": account.offerings},
        "base_version": account.version,
        "reason": command.reason.strip(),
        "due_at": due_at,
        "cycle_end_on": end,
        "zone": timezone.get_current_timezone_name(),
    }


def _payload(account: Account, kind: Schedule.Kind, offerings: list[ProviderOffering] | None) -> dict[str, Any]:
    if kind != Schedule.Kind.OFFERINGS:
        return {}
    if account.offerings is None:
        raise Refusal(_("The account's offerings haven't been loaded yet. Refresh the account first."), field="package")
    check_offerings(offerings or [])
    rows = as_rows(offerings or [])
    if rows == account.offerings:
        raise Refusal(_("The account already has this package."), field="package")
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
