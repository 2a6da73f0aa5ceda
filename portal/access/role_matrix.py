"""Contents of the pages of roles: permissions by role, and what a choice of permissions opens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.access.models import CustomRole, User
from portal.access.permission_labels import GROUPS, LABELS, PermissionLabel
from portal.access.permissions import Permission, may_open, permissions_of, permissions_of_codes, rules
from portal.access.roles import CUSTOM, Role

# The pages of the main navigation, templates/components/_rail.html.
PAGES: tuple[tuple[str, str | Promise], ...] = (
    ("home", _("Home")),
    ("customers:list", _("Customers")),
    ("customers:keys", _("API keys")),
    ("customers:operations", _("Operations")),
    ("customers:bulk-list", _("Bulk changes")),
    ("approvals:list", _("Approvals")),
    ("customers:coming", _("Scheduled changes")),
    ("billing:usage", _("Usage")),
    ("billing:worklist", _("Usage to decide")),
    ("billing:runs", _("Usage syncs")),
    ("billing:statements", _("Statements")),
    ("billing:months", _("Month close")),
    ("billing:margin", _("Margin")),
    ("billing:price-lists", _("Prices")),
    ("customers:drift", _("Drift")),
    ("customers:connections", _("Connections")),
    ("customers:watch", _("System status")),
    ("access:staff", _("Team members")),
    ("audit:list", _("Audit log")),
    ("retention:rules", _("Retention")),
    ("privacy:list", _("Personal data")),
)


@dataclass(frozen=True, slots=True)
class RoleColumn:
    """A role, as a column. `custom` is None for a built-in one; `code` selects its members in the team list."""

    code: str
    name: str
    permissions: frozenset[Permission]
    members: int
    custom: CustomRole | None = None


@dataclass(frozen=True, slots=True)
class PermissionLine:
    """A permission, as a line: whether each role has it."""

    label: PermissionLabel
    cells: list[bool]


@dataclass(frozen=True, slots=True)
class RoleMatrix:
    columns: list[RoleColumn]
    groups: list[tuple[str | Promise, list[PermissionLine]]]


def role_matrix() -> RoleMatrix:
    counted = User.objects.order_by().values_list("role", "custom_role").annotate(Count("pk"))
    members = {(role, custom): count for role, custom, count in counted}
    columns = [
        RoleColumn(role.value, str(role.label), permissions_of(role), members.get((role.value, None), 0))
        for role in Role
    ]
    columns += [
        RoleColumn(str(row.public_id), row.name, row.granted, members.get((CUSTOM, row.pk), 0), row)
        for row in CustomRole.objects.filter(is_archived=False)
    ]
    groups = [
        (
            name,
            [PermissionLine(label, [code in each.permissions for each in columns]) for code, label in labels.items()],
        )
        for name, labels in GROUPS
    ]
    return RoleMatrix(columns, groups)


@dataclass(frozen=True, slots=True)
class RolePreview:
    """The pages that a role with the chosen permissions opens. `added`: names of what these include besides."""

    pages: list[tuple[str | Promise, bool]]
    added: list[str]


def preview_of(codes: Iterable[str]) -> RolePreview:
    chosen = {*codes, Permission.VIEW.value}
    granted = permissions_of_codes(chosen)
    pages = [(label, may_open(granted, route)) for route, label in PAGES]
    return RolePreview(pages, names_of(granted - chosen))


def names_of(permissions: Iterable[str]) -> list[str]:
    """Return the names of permissions, in the order of the page."""
    wanted = frozenset(permissions)
    return [str(label.name) for code, label in LABELS.items() if code in wanted]


def included_names(permission: Permission) -> list[str]:
    """Return the names of what the permission includes besides "view"."""
    return names_of(rules().includes[permission] - {Permission.VIEW})
