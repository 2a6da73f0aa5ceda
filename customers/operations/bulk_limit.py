"""The limit of the rule for bulk changes: so many accounts per team member within a time window need no approval.

It counts accounts, not forms: those of the person's bulk changes that are not over, or were requested within the
window, and those the person suspended one by one, by a schedule, a retry or from drift. Each account counts once, and
what another person approved does not count. Callers that decide by the count hold the rule's row locked.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from customers.models import Account, ChangeSet, ChangeSetItem, Operation, Schedule
from customers.models.operation_states import OperationKind, OperationState
from portal.access.models import User
from portal.approvals import gate
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import ApprovalRule
from portal.commands import Command
from portal.refusals import Refusal

UNDER_WAY = (ChangeSet.State.WAITING, ChangeSet.State.RUNNING, ChangeSet.State.PAUSED)
CAME_TO_NOTHING = (OperationState.FAILED, OperationState.CANCELLED)


def counted_accounts(person: User, *, since: datetime) -> QuerySet[Account]:
    """Return the accounts that the person changed without approval since then, or has changes under way for."""
    items = ChangeSetItem.objects.filter(change_set__requested_by=person, change_set__approved_by=None)
    # Tags need no operation, and bulk changes of earlier versions have no time of submission.
    at = Coalesce("operation__created_at", "change_set__submitted_at", "change_set__created_at")
    under_way = Q(state=ChangeSetItem.State.READY, change_set__state__in=UNDER_WAY)
    requested = Q(state=ChangeSetItem.State.ASKED, requested_at__gt=since)
    items = items.annotate(requested_at=at).filter(under_way | requested)
    items = items.exclude(change_set__kind=ChangeSet.Kind.DELETE).exclude(operation__state__in=CAME_TO_NOTHING)
    singly = Operation.objects.filter(
        kind=OperationKind.SUSPEND, requested_by=person, created_at__gt=since, change_set_item=None
    ).exclude(state__in=CAME_TO_NOTHING)
    both = Q(pk__in=items.order_by().values("account")) | Q(pk__in=singly.order_by().values("account"))
    return Account.objects.filter(both).order_by()


def exceeds(rule: ApprovalRule, person: User, account_ids: Collection[int], *, now: datetime) -> bool:
    """Return whether these accounts are too many together with the ones that count."""
    if len(account_ids) > rule.threshold:
        return True
    counted = counted_accounts(person, since=now - timedelta(hours=rule.window_hours))
    earlier = counted.exclude(pk__in=account_ids).count()
    return earlier + len(set(account_ids)) > rule.threshold


def lock_rule() -> ApprovalRule | None:
    """Return the rule if it is on, locked until the transaction ends. Lock it before any account."""
    return gate.locked_rule(ApprovalKind.BULK)


def refuse_suspend(command: Command, account: Account) -> None:
    """Refuse a suspend beyond the limit that can't wait for approval where it is requested. Call it in the transaction
    of the request, before the account is locked."""
    rule = lock_rule()
    if rule and exceeds(rule, command.person, [account.pk], now=command.now):
        raise Refusal(
            _(
                "Changing more than %(n)d accounts within %(hours)d hours needs approval, so nothing was sent. Suspend "
                "the account on its page or by a bulk change: that request waits for approval."
            )
            % {"n": rule.threshold, "hours": rule.window_hours}
        )


def refuse_schedule(rule: ApprovalRule | None, person: User, account: Account, *, due_at: datetime) -> None:
    """Refuse a scheduled suspend that, with the others that are due about then, would be skipped for lack of
    approval. `rule`: from `lock_rule`."""
    if rule is None:
        return
    window = timedelta(hours=rule.window_hours)
    others = Schedule.objects.filter(
        kind=Schedule.Kind.SUSPEND,
        state=Schedule.State.WAITING,
        requested_by=person,
        due_at__gt=due_at - window,
        due_at__lt=due_at + window,
    ).order_by()
    earlier = Q(pk__in=others.values("account"))
    earlier |= Q(pk__in=counted_accounts(person, since=due_at - window).values("pk"))
    if Account.objects.filter(earlier).exclude(pk=account.pk).count() + 1 > rule.threshold:
        raise Refusal(
            _(
                "Changing more than %(n)d accounts within %(hours)d hours needs approval, and a scheduled change can't "
                "wait for it. Nothing was scheduled. Select a later time, or suspend the accounts by a bulk change."
            )
            % {"n": rule.threshold, "hours": rule.window_hours}
        )
