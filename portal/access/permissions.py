"""Permissions, read once from permissions.toml: their roles, what they include, and the one that each route needs.

Missing routes are refused. Code asks for a permission, never for a route or a role: `require`, or `User.may`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from portal.access.roles import Role
from portal.refusals import Refusal

if TYPE_CHECKING:
    from portal.access.models import User

log = structlog.get_logger(__name__)

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
    DECIDE_APPROVAL = "decide_approval"
    VIEW_APPROVAL_RULES = "view_approval_rules"
    MANAGE_APPROVAL_RULES = "manage_approval_rules"
    VIEW_RETENTION = "view_retention"
    MANAGE_RETENTION = "manage_retention"
    HANDLE_PERSONAL_DATA = "handle_personal_data"
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
    MANAGE_PRICES = "manage_prices"
    VIEW_COST = "view_cost"
    CLOSE_MONTHS = "close_months"
    SYNC_USAGE = "sync_usage"
    ACCEPT_USAGE = "accept_usage"


Rule = Mapping[str, Permission]  # by method


@dataclass(frozen=True)
class Rules:
    """The content of permissions.toml."""

    roles: Mapping[Permission, frozenset[str]]
    routes: Mapping[str, Rule]
    includes: Mapping[Permission, frozenset[Permission]]
    admins_only: frozenset[Permission]
    hidden: frozenset[Permission]


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
    lists = {name: declared[name]["permissions"] for name in ("admins_only", "hidden")}
    named = {
        *declared["includes"],
        *(code for codes in (*declared["includes"].values(), *lists.values()) for code in codes),
    }
    if unknown := named - set(Permission):
        raise ImproperlyConfigured(f"permissions.toml: unknown permissions: {sorted(unknown)}.")
    for route, rule in declared["routes"].items():
        if unknown := (set(rule) - METHODS) | (set(rule.values()) - set(Permission)):
            raise ImproperlyConfigured(
                f'permissions.toml: "{route}" has unknown methods or permissions: {sorted(unknown)}.'
            )
    routes = {
        route: {method: Permission(code) for method, code in rule.items()} for route, rule in declared["routes"].items()
    }
    includes = {each: _included(each, declared["includes"]) for each in Permission}
    admins_only, hidden = (frozenset(map(Permission, codes)) for codes in lists.values())
    return Rules(roles, routes, includes, admins_only, hidden)


def _included(permission: Permission, declared: Mapping[str, Iterable[str]]) -> frozenset[Permission]:
    """Return the permissions that this one includes, at any depth. All but "anyone" include "view"."""
    found: set[Permission] = set()
    new = [Permission(code) for code in declared.get(permission, ())]
    while new:
        found.add(each := new.pop())
        new += [Permission(code) for code in declared.get(each, ()) if code not in found]
    view = set() if permission == Permission.ANYONE else {Permission.VIEW}
    return frozenset((found | view) - {permission})


def rule_of(route: str) -> Rule | None:
    return rules().routes.get(route)


def roles_of(permission: Permission) -> frozenset[str]:
    """Return the built-in roles that have the permission; includes "anyone" if no sign-in is needed. For the users who
    have it, also by a custom role, see `portal.access.queries.people_who_may`."""
    return rules().roles[permission]


@lru_cache(maxsize=8)
def permissions_of(role: str) -> frozenset[Permission]:
    """Return the permissions of a built-in role; of "", those of a visitor who is not signed in."""
    return frozenset(each for each in Permission if not {ANYONE, role}.isdisjoint(roles_of(each)))


def with_included(permissions: Iterable[Permission]) -> frozenset[Permission]:
    """Return the permissions together with all that they include."""
    chosen = frozenset(permissions)
    return chosen.union(*(rules().includes[each] for each in chosen))


def choosable() -> tuple[Permission, ...]:
    """Return what a custom role may have, in the order of `Permission`: all but what is reserved to admins."""
    return tuple(each for each in Permission if each not in rules().admins_only and each != Permission.ANYONE)


def permissions_of_codes(codes: Iterable[str]) -> frozenset[Permission]:
    """Return the permissions of a custom role that stores these codes. A code that is unknown, as after a downgrade,
    or reserved to admins gives nothing."""
    chosen = frozenset(codes).intersection(choosable())
    return with_included(map(Permission, chosen)) | permissions_of("")


def may_open(permissions: frozenset[Permission], route: str, method: str = "GET") -> bool:
    """Return whether a user with these permissions may use `route` (its view name) with `method`."""
    permission = (rule_of(route) or {}).get(method_of(method))
    return permission is not None and permission in permissions


def refuse(permission: Permission) -> NoReturn:
    """Refuse a signed-in user who has not this permission. If knowing of the page tells something, it does not exist
    for them.

    Raises:
        Http404: The permission is hidden.
        NotYourRole: It is not.
    """
    if permission in rules().hidden:
        raise Http404
    raise NotYourRole(roles_of(permission))


def require(actor: User, permission: Permission) -> None:
    """Refuse a user who is disabled or whose role has not this permission, and log it."""
    if not actor.may(permission):
        log.warning("permission refused", permission=str(permission), person=str(actor.public_id))
        raise Refusal(_("Your role doesn't allow this."))
