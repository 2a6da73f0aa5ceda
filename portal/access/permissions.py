"""Permissions, read once from permissions.toml: route name -> method -> roles. Missing routes are refused."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from portal.access.roles import Role

ANYONE = "anyone"
METHODS = frozenset({"GET", "POST"})
Rule = Mapping[str, frozenset[str]]
_FILE = Path(__file__).with_name("permissions.toml")


class NotYourRole(PermissionDenied):
    """Refusal of a signed-in user by role. The message names the permitted roles."""

    def __init__(self, roles: frozenset[str]) -> None:
        self.roles = [Role(name) for name in Role.values if name in roles]
        names = get_text_list([str(role.label) for role in self.roles], _("or"))
        super().__init__(_("This needs the role %(roles)s.") % {"roles": names} if names else _("No role may do this."))


def method_of(method: str | None) -> str:
    return "GET" if method in {"HEAD", "OPTIONS"} else str(method)


@lru_cache(maxsize=1)
def rules() -> Mapping[str, Rule]:
    """Return every declared route. Raises `ImproperlyConfigured` for a role, group or method that does not exist."""
    declared = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return read_rules(groups=declared["groups"], routes=declared["routes"])


def read_rules(
    *, groups: Mapping[str, list[str]], routes: Mapping[str, Mapping[str, str | list[str]]]
) -> Mapping[str, Rule]:
    found: dict[str, Rule] = {}
    for route, methods in routes.items():
        rule: dict[str, frozenset[str]] = {}
        for method, who in methods.items():
            if method not in METHODS:
                raise ImproperlyConfigured(f'permissions.toml: "{route}" names the method {method}; only GET and POST.')
            names = [who] if who == ANYONE else groups.get(who, [who]) if isinstance(who, str) else who
            unknown = set(names) - set(Role.values) - {ANYONE}
            if unknown or not names:
                raise ImproperlyConfigured(
                    f'permissions.toml: "{route}" {method} names no role or group of the portal: {sorted(unknown)}.'
                )
            rule[method] = frozenset(names)
        found[route] = rule
    return found


def rule_of(route: str) -> Rule | None:
    return rules().get(route)


def roles_of(route: str, method: str = "GET") -> frozenset[str]:
    """Return the permitted roles; includes "anyone" if no sign-in is needed."""
    return rules().get(route, {}).get(method_of(method), frozenset())


def allowed(role: str, route: str, method: str = "GET") -> bool:
    """Return whether `role` ("" = not signed in) may use `route` (its view name) with `method`."""
    roles = roles_of(route, method)
    return ANYONE in roles or role in roles
