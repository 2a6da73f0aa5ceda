"""Requests that give someone admin access: a role, an invitation, enabling, a reset password or second factor."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.access import links, mail, staff
from portal.access.grants import Grant, custom_role_of
from portal.access.models import User
from portal.access.permissions import permissions_of_codes
from portal.access.queries import role_label
from portal.access.role_matrix import names_of
from portal.access.sso.queries import link_kind
from portal.approvals import gate
from portal.approvals.actions import ApprovalAction, Row
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import Approval
from portal.commands import Command
from portal.refusals import Refusal


def check_admin_grant(command: Command, grant: Grant) -> dict[str, Any]:
    """Check the grant as `gate.pass_gate` does. It starts from the person's role, access and session epoch."""
    payload: dict[str, Any] = {"act": grant.act, "role": str(grant.role)}
    if role := custom_role_of(grant.role):
        # An edited role is another one: what was requested is what the approver sees.
        payload |= {"role_version": role.version, "permissions": sorted(role.permissions)}
    if grant.person is None:
        payload |= {"email": grant.email, "name": grant.name}
        label = f"{grant.name} ({grant.email})"
    else:
        now = {"role": grant.person.role_code, "is_active": grant.person.is_active, "epoch": grant.person.session_epoch}
        payload |= {"now": now}
        label = f"{grant.person} ({grant.person.email})"
    return gate.pass_gate(
        command, gate.Change(ApprovalKind.ADMIN_ROLE, subject=grant.person, label=label, payload=payload)
    )


def _apply(command: Command, approval: Approval) -> User:
    """Give the access. Raises `Refusal`."""
    said = approval.payload
    if said["act"] == "invite":
        return staff.invite(command, email=said["email"], name=said["name"], role=said["role"])
    person = _person(approval.subject_id)
    match said["act"]:
        case "role":
            staff.change_role(command, person=person, role=said["role"])
        case "enable":
            staff.enable(command, person=person)
        case "second_factor":
            staff.reset_second_factor(command, person=person)
        case _:
            staff.reset_password(command, person=person)
    person.refresh_from_db()
    return person


def _person(public_id: UUID | None) -> User:
    found = User.objects.filter(public_id=public_id).first() if public_id else None
    if found is None:
        raise Refusal(_("This team member no longer exists. Reject the request."))
    return found


def _rows(approval: Approval) -> list[Row]:
    return [*_rows_of_act(approval.payload), *_permission_rows(approval.payload)]


def _permission_rows(said: dict[str, Any]) -> list[Row]:
    if "permissions" not in said:
        return []
    return [(_("Permissions of the role"), "", ", ".join(names_of(permissions_of_codes(said["permissions"]))))]


def _rows_of_act(said: dict[str, Any]) -> list[Row]:
    role = role_label(said["role"])
    match said["act"]:
        case "invite":
            return [
                (_("Name"), "", said["name"]),
                (_("Email"), "", said["email"]),
                (_("Role"), "", role),
            ]
        case "role":
            return [(_("Role"), role_label(said["now"]["role"]), role)]
        case "enable":
            return [(_("Status"), _("Disabled"), _("Active")), (_("Role"), role, role)]
        case "second_factor":
            return [(_("Second factor"), _("Set up"), _("Removed: the team member sets up a new one"))]
        case _:
            return [(_("Password"), _("Current password"), _("Reset: a link is emailed to the team member"))]


def _applied(request: HttpRequest | None, approval: Approval, person: User) -> None:
    """Mail the link to the person, and show it to nobody: whoever has it can sign in as them."""
    act = approval.payload["act"]
    if act not in ("invite", "reset"):
        return
    kind = link_kind(person)
    link = links.make_link(person=person, lasts=links.BY_ADMIN, now=timezone.now(), request=request, kind=kind)
    if mail.send_link(person=person, link=link):
        text, level = _("A link to set the password was emailed to %(email)s."), messages.SUCCESS
    else:
        text, level = _("The email to %(email)s couldn't be sent. Request a new link on their page."), messages.WARNING
    if request:
        messages.add_message(request, level, text % {"email": person.email})


ACTION = ApprovalAction(_apply, _rows, _applied)
