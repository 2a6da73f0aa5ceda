"""The one decision whether a change needs approval, made in the transaction of the change.

    told = gate.pass_gate(command, Change(ApprovalKind.CREDENTIAL, subject=connection, label=..., payload=...))

returns facts for the audit event and lets the change go on: no rule is on, or the command carries an approval of
exactly this change, or the glass is broken. Otherwise it raises `ApprovalRequired` or `NobodyLeft`, which no form
handles: the middleware stores the request, or shows why it is refused (portal/approvals/middleware.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext as _

from portal import audit
from portal.access.models import User
from portal.access.permissions import Permission, permissions_of
from portal.access.roles import Role
from portal.approvals import approvers, notifications, settling
from portal.approvals.kinds import ApprovalKind, permission_to_request, permissions_to_decide
from portal.approvals.models import Approval, ApprovalRule, canonical_json
from portal.audit.recording import type_of
from portal.commands import Command
from portal.refusals import Refusal

GLASS_REASON_MIN = 20


@dataclass(frozen=True)
class Change:
    """A change as data. `payload` holds what will be done and the version of what it starts from, without secrets."""

    kind: ApprovalKind
    subject: Model | None
    label: str
    payload: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def subject_type(self) -> str:
        return type_of(self.subject) if self.subject else ""

    @property
    def subject_id(self) -> Any:
        return getattr(self.subject, "public_id", None)


class ApprovalRequired(Exception):
    """The change needs approval, and others can give it. Nothing was changed."""

    def __init__(self, change: Change, names: str, *, reason: str = "") -> None:
        super().__init__(_("This needs approval by %(names)s.") % {"names": names})
        self.change, self.names, self.reason = change, names, reason


class NobodyLeft(Exception):
    """The change needs approval, and nobody else can give it. Nothing was changed."""

    def __init__(self, person: User, *permissions: Permission, what: str, changed_approvers: bool = False) -> None:
        text = _(
            "This needs approval by another team member, and nobody else can approve it now. Nothing was changed. "
            "Required role: %(roles)s. Invite or enable another person with this role. People whose access an admin "
            "changed can approve 24 hours later."
        )
        if Permission.MANAGE_TEAM in permissions:  # which itself needs approval
            text = _(
                "This needs approval by another team member, and nobody else can approve it now. Nothing was changed. "
                "Required role: %(roles)s. An admin can make the change without approval below, or whoever operates "
                "the portal runs manage.py create_admin."
            )
        labels = [str(Role(name).label) for name in Role.values if permissions_of(name).issuperset(permissions)]
        said = text % {"roles": ", ".join(labels)}
        self.may_break_glass = person.may(Permission.MANAGE_APPROVAL_RULES) and not changed_approvers
        if changed_approvers:
            said = _(
                "This needs approval by another team member. In the last 24 hours you changed the access of someone "
                "who could have approved it, so you can't make it without approval. Nothing was changed. Ask another "
                "admin, or wait until 24 hours after that change."
            )
        super().__init__(said)
        self.what, self.why_kept = what, ""


@dataclass(frozen=True)
class Given:
    """An approval that a command carries: the request, as the approver saw it, and the approver."""

    approval: Approval
    approver: User
    seen: str
    request: HttpRequest | None = None


def rule_applies(kind: ApprovalKind) -> bool:
    """Return whether the kind's rule is on. Relaxing a rule needs approval while any rule is on."""
    if kind == ApprovalKind.RULE:
        return ApprovalRule.objects.filter(is_on=True).exists()
    return ApprovalRule.objects.filter(kind=kind, is_on=True).exists()


def locked_rule(kind: ApprovalKind) -> ApprovalRule | None:
    """Return the rule if it is on, locked until the transaction ends: two requests are counted one after the other."""
    rule = ApprovalRule.objects.select_for_update().filter(kind=kind).first()
    return rule if rule and rule.is_on else None


def pass_gate(command: Command, change: Change) -> dict[str, Any]:
    """Return facts for the audit event if the change may be made now. Call it inside the transaction of the change.

    The portal itself and its command line need no approval. Raises `ApprovalRequired`, `NobodyLeft`, and `Refusal` for
    an approval of another change.
    """
    if command.actor is None:
        return {}
    if command.approval is not None:
        return _use(command, change)
    if not rule_applies(change.kind):
        return {}
    possible = approvers.others(command.person, *permissions_to_decide(change.kind), now=command.now)
    if names := approvers.names(possible):
        raise ApprovalRequired(change, names, reason=command.reason)
    return break_glass(command, kind=change.kind, subject=change.subject, label=change.label)


def break_glass(
    command: Command,
    *,
    kind: ApprovalKind,
    subject: Model | None,
    label: str,
    permissions: tuple[Permission, ...] = (),
) -> dict[str, Any]:
    """Let a change through that nobody else can approve, and tell all admins and auditors. Call it inside the
    transaction of the change, after looking for approvers. `permissions`: of its approvers, where not those of the
    kind. Raises `NobodyLeft` without an admin's sufficient reason, and for one who made sure that nobody is left."""
    needed = permissions or permissions_to_decide(kind)
    refused = NobodyLeft(
        command.person,
        *needed,
        what=f"{kind.label}: {label}",
        changed_approvers=settling.changed_approvers(command.person, needed, now=command.now),
    )
    reason = command.glass_reason.strip()
    if not reason or not refused.may_break_glass:
        raise refused
    if len(reason) < GLASS_REASON_MIN:
        refused.why_kept = _("Enter a reason of at least %(n)d characters.") % {"n": GLASS_REASON_MIN}
        raise refused
    event = command.record(
        verb="approval.broke_glass", obj=subject, after={"approval_kind": kind.value, "change": label}, reason=reason
    )
    notifications.tell_of_broken_glass(event)
    return {"broke_glass": True}


def _use(command: Command, change: Change) -> dict[str, Any]:
    """Mark the approval that the command carries as applied. Of two at the same moment one is refused."""
    given: Given = command.approval
    row, now = given.approval, command.now
    same = (change.kind, change.subject_type, change.subject_id) == (row.kind, row.subject_type, row.subject_id)
    if not same or canonical_json(change.payload) != canonical_json(row.payload):
        raise Refusal(changed_text(row))
    both = User.objects.select_for_update(no_key=True).filter(pk__in=(given.approver.pk, row.requested_by_id))
    held = {each.pk: each for each in both.order_by("pk")}
    approver = held[given.approver.pk]
    refuse_lost_permission(held[row.requested_by_id], row)
    if not approvers.may_approve(approver, row.requested_by, *permissions_to_decide(row.kind), now=now):
        raise Refusal(_("You can no longer approve this request."))
    waiting = Approval.objects.filter(
        pk=row.pk, state=Approval.State.WAITING, expires_at__gt=now, payload_hash=given.seen
    )
    applied = waiting.update(
        state=Approval.State.APPLIED,
        decided_by=approver,
        approved_hash=given.seen,
        secret_sealed="",
        finished_at=now,
    )
    if applied != 1:
        raise Refusal(_("This request is no longer waiting for approval."))
    audit.record(
        actor=approver,
        verb="approval.approved",
        obj=row,
        after={"request": row.code, "requested_by": str(row.requested_by), "hash": row.payload_hash[:12]},
        reason=row.reason,
        request=given.request,
    )
    row.refresh_from_db()
    notifications.tell_end(row, now=now)
    return {"approval": row.code, "approved_by": str(approver)}


def refuse_lost_permission(requester: User, row: Approval) -> None:
    if not requester.may(permission_to_request(row.kind)):
        text = _("%(name)s no longer has permission to make this change. Reject the request.")
        raise Refusal(text % {"name": requester})


def changed_text(row: Approval) -> str:
    text = _(
        "What this request is about changed since it was requested. Nothing was changed. Reject it, and ask %(name)s "
        "to request it again."
    )
    return text % {"name": row.requested_by}
