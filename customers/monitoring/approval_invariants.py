"""The part of integrity check I17 about requests for approval, and about changes that a rule covers."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import F, Q

from customers.models import ChangeSet, Operation
from customers.models.operation_states import OperationKind
from portal.access.grants import FAR_REACHING, is_privileged
from portal.access.role_history import custom_role_had
from portal.access.roles import Role
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval, ApprovalRule
from portal.approvals.settling import BY_ADMIN
from portal.audit.expiry import expired_until
from portal.audit.models import AuditEvent

# Facts that the audit event of a covered change has, one of them.
PASSED = ("approval", "broke_glass")


def decided_by_requester() -> Iterator[str]:
    """Yield requests that their requester decided, or that were applied without approval of what was requested."""
    for each in Approval.objects.filter(decided_by=F("requested_by")):
        yield f"{each.code} was decided by its requester"
    unseen = Q(decided_by=None) | ~Q(approved_hash=F("payload_hash"))
    for each in Approval.objects.filter(unseen, state=Approval.State.APPLIED):
        yield f"{each.code} was applied without approval"


def changed_without_approval() -> Iterator[str]:
    """Yield changes by users, since their rule is on, whose audit event names neither an approval nor a break-glass."""
    for rule in ApprovalRule.objects.filter(is_on=True, on_since__isnull=False):
        if covered := _covered(ApprovalKind(rule.kind)):
            events = AuditEvent.objects.filter(covered, at__gt=rule.on_since, actor__isnull=False)
            for name in PASSED:
                events = events.exclude(after__has_key=name)
            for event in events.order_by("pk"):
                if _is_covered(event):
                    yield f"{event.verb} of {event.object_label} was made without approval"
    for change in _deletes_without_approval():
        yield f"{change.code} deleted an account without approval"
    for event in _relaxed_without_approval():
        yield f"{event.verb} of {event.object_label} was made without approval"


def _covered(kind: ApprovalKind) -> Q | None:
    """Return the events that the rule covers, as far as events tell."""
    match kind:
        case ApprovalKind.ADMIN_ROLE:
            return Q(verb__in=BY_ADMIN)
        case ApprovalKind.CREDENTIAL:
            return Q(verb="connection.key_replaced") | Q(verb="connection.edited", after__has_key="replaced")
        case ApprovalKind.LINK:
            return Q(verb="account.adopted") & ~Q(after__has_key="proof")
        case _:
            return None


def _is_covered(event: AuditEvent) -> bool:
    """Return whether the role that the event is about was privileged then, for events about roles."""
    if event.verb not in BY_ADMIN:
        return True
    role = event.after.get("role", "")
    if role in Role.values:
        return is_privileged(role)
    return any(custom_role_had(role, each, event_id=event.pk) for each in FAR_REACHING)


def _relaxed_without_approval() -> Iterator[AuditEvent]:
    """Yield events by which a rule that was on was relaxed; limits, while the rule is on now."""
    changes = AuditEvent.objects.filter(verb="approval.rule_changed", actor__isnull=False)
    for name in PASSED:
        changes = changes.exclude(after__has_key=name)
    on_since = {each.public_id: each.on_since for each in ApprovalRule.objects.filter(is_on=True) if each.on_since}
    for event in changes.order_by("pk"):
        before, after = event.before, event.after
        switched_off = before.get("is_on") is True and after.get("is_on") is False
        limits = after.get("threshold", 0) > before.get("threshold", 0)
        limits |= after.get("window_hours", 0) < before.get("window_hours", 0)
        is_on = event.object_id in on_since and event.at > on_since[event.object_id] and "is_on" not in after
        if switched_off or (limits and is_on):
            yield event


def _deletes_without_approval() -> Iterator[ChangeSet | Operation]:
    rule = ApprovalRule.objects.filter(kind=ApprovalKind.DELETE, is_on=True).first()
    if rule is None:
        return
    # The events of earlier ones may have been removed.
    since = max(filter(None, (rule.on_since, expired_until())), default=None)
    deletes = ChangeSet.objects.filter(kind=ChangeSet.Kind.DELETE, submitted_at__gt=since, second_person=False)
    glass = AuditEvent.objects.filter(verb="approval.broke_glass").values("object_id")
    ran = (ChangeSet.State.RUNNING, ChangeSet.State.PAUSED, ChangeSet.State.ENDED)
    yield from deletes.filter(state__in=ran).exclude(public_id__in=glass)
    # A delete that needs approval is a bulk change of one.
    yield from Operation.objects.filter(
        kind=OperationKind.DELETE, created_at__gt=rule.on_since, change_set_item=None
    ).order_by("pk")
