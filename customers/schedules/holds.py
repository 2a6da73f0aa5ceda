"""Holds: an account must not be suspended by a schedule or in bulk, why, and until when.

A hold stops what happens automatically or to many at once, also what is queued already: that is canceled, and a worker
that has begun checks the hold before it sends (`customers.operations.transitions.intend`). It does not stop a user's
own click on that one account: they are shown the hold and confirm that they override it, and the operation names the
hold. Refusing them would only make them release a colleague's hold first, and then nobody would place it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from customers.models import Account, Hold, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind, OperationState
from customers.operations import attempts, transitions
from customers.operations.commands import UnableToAsk
from customers.operations.request import record_operation_event
from portal import audit
from portal.access.models import User
from portal.access.permissions import allowed

PLACE = "customers:hold-place"
RELEASE = "customers:hold-release"


def held(account_ids: Iterable[int], *, now: datetime | None = None) -> dict[int, Hold]:
    """Return the live hold of each of these accounts that has one, by the account's primary key. One query; those
    without are left out. Where there are several, the one that was placed last."""
    at = now or timezone.now()
    found = Hold.objects.live(now=at).filter(account__in=list(account_ids)).select_related("owner").order_by("pk")
    return {each.account_id: each for each in found}


def place_hold(
    *,
    actor: User,
    account: Account,
    reason: str,
    until: datetime | None,
    now: datetime,
    request: HttpRequest | None = None,
) -> Hold:
    """Hold the account until a moment, or until a user releases it.

    A suspend that a schedule or a bulk change has queued is canceled (`cancelled` of the returned hold). Raises
    `UnableToAsk`, also where another suspend is under way.
    """
    _may(actor, PLACE)
    if not reason.strip():
        raise UnableToAsk(_("Say why. Whoever meets the hold reads it."), field="reason")
    if until is not None and until <= now:
        raise UnableToAsk(_("Choose a moment to come."), field="until")
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=account.pk)  # of two requests at once one is refused
        if account.state == AccountState.DELETED:
            raise UnableToAsk(_("The account is deleted. There is nothing to hold."))
        if other := held([account.pk], now=now).get(account.pk):
            raise UnableToAsk(_("%(name)s holds it already. Release that hold first.") % {"name": other.owner})
        suspends = _automatic_suspends(account)
        hold = Hold.objects.create(
            account=account, owner=actor, reason=reason.strip()[:500], placed_at=now, until=until
        )
        _tell(hold, "hold.placed", actor=actor, reason=reason.strip(), request=request)
        hold.cancelled = [each for each in suspends if _cancel(each, hold, actor=actor, now=now, request=request)]
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
        text = _("{name} requested to suspend this account ({request}), and that is not finished. {next}")
        after = _("Cancel it first, then place the hold.")
        if sent:
            after = _("It may have been sent. Once it is finished, unsuspend the account, then place the hold.")
        link = format_html('<a href="{}">{}</a>', each.get_absolute_url(), each.code)
        raise UnableToAsk(format_html(text, name=each.requested_by, request=link, next=after))
    return found


def _cancel(
    operation: Operation, hold: Hold, *, actor: User, now: datetime, request: HttpRequest | None
) -> Operation | None:
    """Cancel queued suspends. One that a worker has taken is left to it: it does not send despite the hold."""
    rows = Operation.objects.select_for_update(skip_locked=True, of=("self",)).select_related("account__customer")
    mine = rows.filter(pk=operation.pk, state=OperationState.QUEUED).first()
    if mine is None:
        return None
    transitions.take_over(mine)
    transitions.move(mine, OperationState.CANCELLED, now=now, by=actor, summary=hold.text)
    record_operation_event(mine, "operation.cancelled", actor=actor, request=request)
    return mine


def release(*, actor: User, hold: Hold, reason: str, now: datetime, request: HttpRequest | None = None) -> None:
    """End a live hold. All users who may place one may release one: its owner may be away. Raises `UnableToAsk`."""
    _may(actor, RELEASE)
    if not reason.strip():
        raise UnableToAsk(_("A reason is needed. It is kept in the audit log."), field="reason")
    with transaction.atomic():
        if not Hold.objects.live(now=now).filter(pk=hold.pk).update(released_at=now, released_by=actor):
            raise UnableToAsk(_("It does not hold any more."))
        _tell(hold, "hold.released", actor=actor, reason=reason.strip(), request=request)


def _may(actor: User, route: str) -> None:
    if not actor.is_active or not allowed(actor.role, route, "POST"):
        raise UnableToAsk(_("Your role may not do this."))


def _tell(hold: Hold, verb: str, *, actor: User, reason: str, request: HttpRequest | None) -> None:
    facts = {"until": hold.until.isoformat() if hold.until else None, "owner": str(hold.owner)}
    audit.record(
        actor=actor, verb=verb, obj=hold, customer=hold.account.customer, account=hold.account,
        after=facts if verb == "hold.placed" else None, before=None if verb == "hold.placed" else facts,
        reason=reason, request=request,
    )  # fmt: skip
