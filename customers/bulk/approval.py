"""The need for approval of a bulk change, a delete or a single suspend, and who can give it.

What the rule for bulk changes counts is in `customers.operations.bulk_limit`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from customers.bulk.plan import permissions_of_change
from customers.models import ChangeSet, ChangeSetItem
from customers.operations.bulk_limit import exceeds
from portal.access.models import User
from portal.access.permissions import Permission
from portal.approvals import approvers, gate, notifications
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import ApprovalRule
from portal.approvals.rules import approval_rule
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.refusals import Refusal

State = ChangeSetItem.State


def rule_kind(kind: str) -> ApprovalKind:
    return ApprovalKind.DELETE if kind == ChangeSet.Kind.DELETE else ApprovalKind.BULK


def deciding_permissions(kind: str) -> tuple[Permission, ...]:
    """Return what an approver holds: the permissions of the change, and that of the page that decides it."""
    return *permissions_of_change(kind), Permission.CHANGE_IN_BULK


def other_approvers(person: User, kind: str, *, now: datetime) -> QuerySet[User]:
    """Return the other users who may approve a bulk change of this kind."""
    return approvers.others(person, *deciding_permissions(kind), now=now)


def needs_approval(person: User, kind: str, account_ids: Collection[int], *, now: datetime) -> bool:
    """Return whether the change would need approval now, for a page. The decision is made when it is requested."""
    rule = approval_rule(rule_kind(kind))
    return _covers(rule, person, kind, account_ids, now=now)


def _covers(rule: ApprovalRule, person: User, kind: str, account_ids: Collection[int], *, now: datetime) -> bool:
    if not rule.is_on:
        return False
    return kind == ChangeSet.Kind.DELETE or exceeds(rule, person, account_ids, now=now)


def lock_rule_of(kind: str) -> None:
    """Lock the rule, where it is on, until the transaction ends."""
    gate.locked_rule(rule_kind(kind))


def waits(command: Command, kind: str, account_ids: Collection[int]) -> bool:
    """Return whether the change needs approval. Locks the rule until the transaction ends, so that of two requests at
    the same moment the second counts the first."""
    rule = gate.locked_rule(rule_kind(kind))
    return rule is not None and _covers(rule, command.person, kind, account_ids, now=command.now)


def decide(command: Command, change_set: ChangeSet) -> tuple[bool, dict[str, Any]]:
    """Return whether a planned bulk change has to wait, and facts for its audit event. Call it in the transaction that
    submits it. Raises `NobodyLeft` where nobody else can approve it, unless an admin breaks the glass."""
    ready = change_set.items.filter(state=State.READY)
    account_ids = set(ready.values_list("account_id", flat=True))
    if not waits(command, change_set.kind, account_ids):
        return False, {}
    if other_approvers(command.person, change_set.kind, now=command.now).exists():
        return True, {}
    account = ready.select_related("account__customer").first() if len(account_ids) == 1 else None
    about = str(account.account.customer) if account else str(len(account_ids))
    label = f"{change_set.get_kind_display()} ({about})"
    return False, gate.break_glass(
        command,
        kind=rule_kind(change_set.kind),
        subject=change_set,
        label=label,
        permissions=deciding_permissions(change_set.kind),
    )


def refuse_resume(command: Command, change_set: ChangeSet) -> None:
    """Refuse to resume what would need approval if it was submitted now, unless it was approved or the glass was broken
    for it. Call it in the transaction that resumes it."""
    if change_set.approved_by_id is not None:
        return
    rule = gate.locked_rule(rule_kind(change_set.kind))
    ready = set(change_set.items.filter(state=State.READY).values_list("account_id", flat=True))
    if rule is None or not ready:
        return
    glass = AuditEvent.objects.filter(verb="approval.broke_glass", object_id=change_set.public_id)
    if _covers(rule, change_set.requested_by, change_set.kind, ready, now=command.now) and not glass.exists():
        raise Refusal(
            _(
                "This bulk change needs approval now, so it can't be resumed. Cancel it, and create a new one for the "
                "accounts that are left: that one waits for approval."
            )
        )


def tell_bulk_approvers(change_set: ChangeSet, *, now: datetime) -> None:
    notifications.tell_approvers(
        other_approvers(change_set.requested_by, change_set.kind, now=now),
        about=str(change_set.public_id),
        what=str(change_set.get_kind_display()),
        requester=change_set.requested_by,
        reason=change_set.reason,
        path=change_set.get_absolute_url(),
        now=now,
    )


def tell_decision(change_set: ChangeSet, *, now: datetime) -> None:
    """Tell the requester of an approved or rejected bulk change, and no approver any longer that it waits."""
    notifications.stop_telling_approvers(about=str(change_set.public_id), now=now)
    if change_set.approved_by:
        text = _("Approved by %(name)s.") % {"name": change_set.approved_by}
    else:
        text = change_set.message
    kind = change_set.get_kind_display()
    notifications.tell_requester(
        change_set.requested_by,
        about=str(change_set.public_id),
        title=_("%(what)s: decided") % {"what": kind},
        text=text,
        path=change_set.get_absolute_url(),
        now=now,
    )
