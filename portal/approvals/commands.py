"""Commands on requests for approval: request, approve, reject, cancel, expire. Each ends in one transaction, and of two
at the same moment one is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal import audit
from portal.access.models import User
from portal.access.permissions import Permission, require
from portal.approvals import approvers, gate, notifications, restored
from portal.approvals.actions import action_of
from portal.approvals.kinds import permission_to_request, permissions_to_decide
from portal.approvals.models import EXPIRES_AFTER, Approval
from portal.commands import Command
from portal.refusals import Refusal

State = Approval.State
EXPIRED_AT_ONCE = 200


def request_approval(command: Command, change: gate.Change) -> Approval:
    """Store a change that waits for approval, and tell who can approve it. The same form again returns the same
    request."""
    require(command.person, permission_to_request(change.kind))
    row = Approval(
        kind=change.kind,
        subject_type=change.subject_type,
        subject_id=change.subject_id,
        subject_label=change.label[:200],
        payload=change.payload,
        reason=command.reason.strip()[:1000],
        requested_by=command.person,
        requested_at=command.now,
        client_token=command.token,
        expires_at=command.now + EXPIRES_AFTER,
    )
    row.seal(change.secrets)
    row.payload_hash = row.hash_of_payload()
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            told = {"request": row.code, "approval_kind": row.kind, "change": row.subject_label}
            command.record(verb="approval.requested", obj=row, after=told, reason=row.reason)
            possible = approvers.others(command.person, *permissions_to_decide(change.kind), now=command.now)
            notifications.tell_approvers(
                possible,
                about=str(row.public_id),
                what=f"{row.get_kind_display()}: {row.subject_label}",
                requester=row.requested_by,
                reason=row.reason,
                path=row.get_absolute_url(),
                now=command.now,
            )
    except IntegrityError:
        earlier = Approval.objects.filter(requested_by=command.person, client_token=command.token).first()
        if earlier is None or earlier.payload_hash != row.payload_hash:
            raise Refusal(_("This form was already submitted with different content. Open it again.")) from None
        return earlier
    return row


def approve(command: Command, *, approval: Approval, seen: str) -> Any:
    """Apply the change, by the command that makes it without approval too and in the name of its requester. `seen` is
    the hash of the request that the approver saw. Returns the command's result. Raises `Refusal`."""
    row = _waiting(approval)
    _require_decider(command, row)
    restored.refuse_from_before(row.requested_by, requested_at=row.requested_at)
    if not seen == row.payload_hash == row.hash_of_payload():
        raise Refusal(_("The request changed since you reviewed it. Review it again."))
    gate.refuse_lost_permission(row.requested_by, row)
    on_behalf = Command(
        row.requested_by,
        command.now,
        reason=row.reason,
        token=f"approval:{row.public_id.hex}",
        approval=gate.Given(row, command.person, seen, command.request),
    )
    try:
        result = action_of(row).apply(on_behalf, row)
    except Refusal:
        _waiting(row)  # another decision was first
        raise
    ended = Approval.objects.get(pk=row.pk)
    if ended.state != State.APPLIED or ended.decided_by_id != command.person.pk:
        raise Refusal(gate.changed_text(row) if ended.is_waiting else _not_waiting(ended))
    return result


def reject(command: Command, *, approval: Approval) -> None:
    row, why = _waiting(approval), command.reason.strip()
    _require_decider(command, row)
    if not why:
        raise Refusal(_("Enter a reason. The requester will see it."), field="reason")
    with transaction.atomic():
        _end(row, State.REJECTED, now=command.now, decided_by=command.person, decision_reason=why[:1000])
        told = {"request": row.code, "requested_by": str(row.requested_by)}
        command.record(verb="approval.rejected", obj=row, after=told, reason=why)
        row.refresh_from_db()
        notifications.tell_end(row, now=command.now)


def may_cancel(person: User, approval: Approval) -> bool:
    """Return whether the user may cancel the request: its requester, and admins, where the requester has left."""
    return approval.requested_by_id == person.pk or person.may(Permission.MANAGE_APPROVAL_RULES)


def cancel(command: Command, *, approval: Approval) -> None:
    row = _waiting(approval)
    if not may_cancel(command.person, row):
        raise Refusal(_("Only the team member who requested this, or an admin, can cancel it."))
    with transaction.atomic():
        _end(row, State.CANCELED, now=command.now)
        command.record(verb="approval.canceled", obj=row, after={"request": row.code}, reason=row.reason)
        row.refresh_from_db()
        if command.person.pk == row.requested_by_id:
            notifications.stop_telling_approvers(about=str(row.public_id), now=command.now)
        else:
            notifications.tell_end(row, now=command.now)


def expire_due(*, now: datetime) -> int:
    """End requests that waited too long, or since before a restore; return how many."""
    due, ended = Q(expires_at__lte=now), 0
    if since := restored.restored_at():
        due |= Q(requested_at__lte=since)
    waiting = Approval.objects.filter(due, state=State.WAITING).select_related("requested_by")
    for row in waiting.order_by("pk")[:EXPIRED_AT_ONCE]:
        try:
            with transaction.atomic():
                _end(row, State.EXPIRED, now=now)
                audit.record(actor=None, verb="approval.expired", obj=row, after={"request": row.code})
                row.refresh_from_db()
                notifications.tell_end(row, now=now)
                ended += 1
        except Refusal:
            continue  # it was decided just now
    return ended


def _waiting(approval: Approval) -> Approval:
    """Return the request as stored now. Raises `Refusal` if it no longer waits."""
    row = Approval.objects.select_related("requested_by", "decided_by").get(pk=approval.pk)
    if not row.is_waiting:
        raise Refusal(_not_waiting(row))
    return row


def _not_waiting(row: Approval) -> str:
    return _("This request is no longer waiting for approval. Its state: %(state)s.") % {
        "state": row.get_state_display()
    }


def _require_decider(command: Command, row: Approval) -> None:
    person, permissions = command.person, permissions_to_decide(row.kind)
    for each in permissions:
        require(person, each)
    if person.pk == row.requested_by_id:
        raise Refusal(_("You can't approve your own request. Another team member has to approve it."))
    if row.expires_at <= command.now:
        raise Refusal(_("This request expired. Ask %(name)s to request it again.") % {"name": row.requested_by})
    if not approvers.may_approve(person, row.requested_by, *permissions, now=command.now):
        raise Refusal(approvers.too_recent_text())


def _end(row: Approval, state: str, *, now: datetime, **facts: Any) -> None:
    waiting = Approval.objects.filter(pk=row.pk, state=State.WAITING)
    if waiting.update(state=state, finished_at=now, secret_sealed="", **facts) != 1:
        raise Refusal(_not_waiting(Approval.objects.get(pk=row.pk)))
