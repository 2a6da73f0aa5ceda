"""Holds ("Do not suspend" on pages): an account must not be suspended by a schedule or in bulk, with a reason and an
end.

A hold stops what happens automatically or to many at once, also what is queued already: that is canceled, and a worker
that has begun checks the hold before it sends (`customers.operations.transitions.intend`). It does not stop a user's
own click on that one account: they are shown the hold and confirm that they override it, and the operation names the
hold. Refusing them would only make them release a colleague's hold first, and then nobody would place it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from customers.models import Account, Hold, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind, OperationState
from customers.operations import attempts, transitions
from customers.operations.request import record_operation_event
from portal.access.permissions import Permission, require
from portal.commands import Command
from portal.refusals import Refusal
from portal.texts import say


def held(account_ids: Iterable[int], *, now: datetime | None = None) -> dict[int, Hold]:
    """Return the live hold of each of these accounts that has one, by the account's primary key. One query; those
    without are left out. Where there are several, the one that was placed last."""
    at = now or timezone.now()
    found = Hold.objects.live(now=at).filter(account__in=list(account_ids)).select_related("owner").order_by("pk")
    return {each.account_id: each for each in found}


def place_hold(command: Command, *, account: Account, until: datetime | None) -> Hold:
    """Hold the account until a moment, or until a user releases it.

    A suspend that a schedule or a bulk change has queued is canceled (`cancelled` of the returned hold). Raises
    `Refusal`, also where another suspend is in progress.
    """
    require(command.person, Permission.PLACE_HOLD)
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. Anyone who tries to suspend the account will see it."), field="reason")
    if until is not None and until <= command.now:
        raise Refusal(_("Select a future date."), field="until")
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=account.pk)  # of two requests at once one is refused
        if account.state == AccountState.DELETED:
            raise Refusal(_("The account is deleted, so it can't be marked “Do not suspend”."))
        if other := Hold.objects.of(account.pk, now=command.now):
            raise Refusal(
                _("%(name)s already marked this account “Do not suspend”. Remove that mark first.")
                % {"name": other.owner}
            )
        suspends = _automatic_suspends(account)
        hold = Hold.objects.create(
            account=account,
            owner=command.person,
            reason=command.reason.strip()[:500],
            placed_at=command.now,
            until=until,
        )
        _tell(replace(command, reason=command.reason.strip()), hold, "hold.placed")
        hold.cancelled = [each for each in suspends if _cancel(command, each, hold)]
    return hold


def _automatic_suspends(account: Account) -> list[Operation]:
    """Return the suspends that a schedule or a bulk change queued and that sent nothing yet. Refuses where any other is
    open: a colleague requested it, or it may have been sent already."""
    suspends = Operation.objects.open().filter(account=account, kind=OperationKind.SUSPEND)
    found = list(suspends.select_related("requested_by", "account__customer").order_by("number"))
    for each in found:
        by_itself = hasattr(each, "schedule") or hasattr(each, "change_set_item")
        sent = each.state not in (OperationState.QUEUED, OperationState.CLAIMED) or attempts.has_possible_effect(each)
        if by_itself and not sent:
            continue
        text = _("{name} requested to suspend this account ({request}), and the operation isn't finished. {next}")
        after = _("Cancel it first, then mark the account “Do not suspend”.")
        if sent:
            after = _(
                "It may have been sent. Once it is finished, unsuspend the account, then mark it “Do not suspend”."
            )
        link = format_html('<a href="{}">{}</a>', each.get_absolute_url(), each.code)
        raise Refusal(format_html(text, name=each.requested_by, request=link, next=after))
    return found


def _cancel(command: Command, operation: Operation, hold: Hold) -> Operation | None:
    """Cancel queued suspends. One that a worker has taken is left to it: it does not send despite the hold."""
    rows = Operation.objects.select_for_update(skip_locked=True, of=("self",)).select_related("account__customer")
    mine = rows.filter(pk=operation.pk, state=OperationState.QUEUED).first()
    if mine is None:
        return None
    mine.take_over()
    summary = say("hold.cancelled", name=hold.owner, why=hold.reason)
    transitions.move(mine, OperationState.CANCELLED, now=command.now, by=command.person, summary=summary)
    record_operation_event(command, mine, "operation.cancelled")
    return mine


def release(command: Command, *, hold: Hold) -> None:
    """End a live hold. All users who may place one may release one: its owner may be away. Raises `Refusal`."""
    require(command.person, Permission.RELEASE_HOLD)
    if not command.reason.strip():
        raise Refusal(_("Enter a reason. It's recorded in the audit log."), field="reason")
    with transaction.atomic():
        if (
            not Hold.objects.live(now=command.now)
            .filter(pk=hold.pk)
            .update(released_at=command.now, released_by=command.person)
        ):
            raise Refusal(_("“Do not suspend” has already ended."))
        _tell(replace(command, reason=command.reason.strip()), hold, "hold.released")


def _tell(command: Command, hold: Hold, verb: str) -> None:
    facts = {"until": hold.until.isoformat() if hold.until else None, "owner": str(hold.owner)}
    command.record(
        verb=verb,
        obj=hold,
        after=facts if verb == "hold.placed" else None,
        before=None if verb == "hold.placed" else facts,
    )
