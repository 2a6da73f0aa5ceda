"""Permissions, read once from permissions.toml: their roles, and the permission that each route needs.

Missing routes are refused. Code asks for a permission, never for a route: `require`, or `User.may`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from portal.access.roles import Role
from portal.refusals import Refusal

if TYPE_CHECKING:
    from portal.access.models import User

ANYONE = "anyone"
METHODS = frozenset({"GET", "POST"})
_FILE = Path(__file__).with_name("permissions.toml")


class Permission(StrEnum):
    """Permissions of roles; permissions.toml says which role has which."""

    ANYONE = "anyone"
    VIEW = "view"
    VIEW_TEAM = "view_team"
    MANAGE_TEAM = "manage_team"
    VIEW_AUDIT_LOG = "view_audit_log"
    CREATE_ACCOUNT = "create_account"
    EDIT_CUSTOMER = "edit_customer"
    REFRESH_ACCOUNT = "refresh_account"
    CHANGE_OFFERINGS = "change_offerings"
    SUSPEND_ACCOUNT = "suspend_account"
    UNSUSPEND_ACCOUNT = "unsuspend_account"
    DELETE_ACCOUNT = "delete_account"
    CHANGE_SETTINGS = "change_settings"
    CREATE_KEY = "create_key"
    CHANGE_KEY = "change_key"
    DELETE_KEY = "delete_key"
    REVEAL_KEY = "reveal_key"
    STOP_STORING_KEY = "stop_storing_key"
    ADD_DOMAIN = "add_domain"
    CHECK_DOMAIN = "check_domain"
    SEND_TEST_MESSAGE = "send_test_message"
    SIGN_IN_AS = "sign_in_as"
    DECIDE_OPERATION = "decide_operation"
    SCAN_ACCOUNTS = "scan_accounts"
    RESOLVE_DRIFT = "resolve_drift"
    LINK_ACCOUNT = "link_account"
    MERGE_DUPLICATE = "merge_duplicate"
    IMPORT_ACCOUNTS = "import_accounts"
    CHANGE_IN_BULK = "change_in_bulk"
    SCHEDULE_CHANGE = "schedule_change"
    PLACE_HOLD = "place_hold"
    RELEASE_HOLD = "release_hold"
    VIEW_CONNECTIONS = "view_connections"
    MANAGE_CONNECTIONS = "manage_connections"
    REFRESH_CATALOG = "refresh_catalog"
    VIEW_COST = "view_cost"
    SYNC_USAGE = "sync_usage"
    ACCEPT_USAGE = "accept_usage"


Rule = Mapping[str, Permission]  # by method


@dataclass(frozen=True)
class Rules:
    """The content of permissions.toml."""

    roles: Mapping[Permission, frozenset[str]]
    routes: Mapping[str, Rule]


class NotYourRole(PermissionDenied):
    """Refusal of a signed-in user by role. The message names the permitted roles."""

    def __init__(self, roles: frozenset[str]) -> None:
        self.roles = [Role(name) for name in Role.values if name in roles]
        names = get_text_list([str(role.label) for role in self.roles], _("or"))
        super().__init__(
            _("Required role: %(roles)s.") % {"roles": names} if names else _("No role has permission to do this.")
        )


def method_of(method: str | None) -> str:
    return "GET" if method in {"HEAD", "OPTIONS"} else str(method)


@lru_cache(maxsize=1)
def rules() -> Rules:
    """Return every permission and route. Raises `ImproperlyConfigured` for a word that means nothing."""
    return read_rules(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def read_rules(declared: Mapping[str, Mapping[str, Any]]) -> Rules:
    groups = declared["groups"]
    if unknown := {name for group in groups.values() for name in group} - set(Role.values) - {ANYONE}:
        raise ImproperlyConfigured(f"permissions.toml: unknown roles: {sorted(unknown)}.")
    roles = {}
    for permission in Permission:
        if not groups.get(declared["permissions"].get(permission, "")):
            raise ImproperlyConfigured(f'permissions.toml: the permission "{permission}" has no roles.')
        roles[permission] = frozenset(groups[declared["permissions"][permission]])
    if unknown := set(declared["permissions"]) - set(Permission):
        raise ImproperlyConfigured(f"permissions.toml: unknown permissions: {sorted(unknown)}.")
    for route, rule in declared["routes"].items():
        if unknown := (set(rule) - METHODS) | (set(rule.values()) - set(Permission)):
            raise ImproperlyConfigured(
                f'permissions.toml: "{route}" has unknown methods or permissions: {sorted(unknown)}.'
            )
    routes = {
        route: {method: Permission(code) for method, code in rule.items()} for route, rule in declared["routes"].items()
    }
    return Rules(roles, routes)


def rule_of(route: str) -> Rule | None:
    return rules().routes.get(route)


def roles_of(permission: Permission) -> frozenset[str]:
    """Return the permitted roles; includes "anyone" if no sign-in is needed."""
    return rules().roles[permission]


def allowed(role: str, permission: Permission) -> bool:
    """Return whether `role` ("" = not signed in) has the permission. Of a user, ask `User.may`."""
    return not {ANYONE, role}.isdisjoint(roles_of(permission))


def may_open(role: str, route: str, method: str = "GET") -> bool:
    """Return whether `role` may use `route` (its view name) with `method`."""
    permission = (rule_of(route) or {}).get(method_of(method))
    return permission is not None and allowed(role, permission)


def require(actor: User, permission: Permission) -> None:
    """Refuse a user who is disabled or whose role has not this permission."""
    if not actor.may(permission):
        raise Refusal(_("Your role doesn't allow this."))
