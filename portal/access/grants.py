"""Access that reaches far: privileged roles, and the check before someone is given one.

The check is installed by an app above this one (portal/approvals/staff.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portal.access.models import CustomRole, User
from portal.access.permissions import Permission, permissions_of
from portal.access.roles import Role
from portal.commands import Command

# Whoever holds one of these can give themselves the rest, or send on every customer's behalf.
FAR_REACHING = (Permission.MANAGE_TEAM, Permission.MANAGE_CONNECTIONS)


@dataclass(frozen=True)
class Grant:
    """Access to be given. `act`: invite, role, enable, reset or second_factor. `role`: `User.role_code`. `person` is
    None for an invitation."""

    act: str
    role: str
    person: User | None = None
    email: str = ""
    name: str = ""


Check = Callable[[Command, Grant], dict[str, Any]]
_CHECKS: list[Check] = []


def custom_role_of(role: str) -> CustomRole | None:
    """Return the custom role of a `User.role_code`; None for a built-in one."""
    return None if role in Role.values else CustomRole.objects.filter(public_id=role).first()


def is_privileged(role: str) -> bool:
    """Return whether the role, by its `User.role_code`, has a far-reaching permission."""
    if role in Role.values:
        has = permissions_of(role)
    else:
        custom = custom_role_of(role)
        has = custom.granted if custom else frozenset()
    return not has.isdisjoint(FAR_REACHING)


def check_with(check: Check) -> None:
    """Have `check` asked before access is given."""
    if check not in _CHECKS:
        _CHECKS.append(check)


def check_grant(command: Command, grant: Grant) -> dict[str, Any]:
    """Return facts for the audit event, or raise what the checks raise. Call it inside the transaction of the change.
    Access that is not privileged needs no check."""
    told: dict[str, Any] = {}
    if is_privileged(grant.role) or command.approval is not None:
        for check in _CHECKS:
            told |= check(command, grant)
    return told
