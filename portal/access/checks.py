"""System checks of permissions.toml: every route is declared and every entry is a route, or the portal does not
start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from portal.access.permissions import Permission, rules
from portal.access.throttling import ROUTES

_LIMIT_HINT = "Add it to ROUTES in portal/access/throttling.py."
_HINT = "Declare it in portal/access/permissions.toml: route name -> method -> permission."


def route_names(resolver: URLResolver | None = None, spaces: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield (view name as in `resolver_match.view_name`, pattern) of every route. An unnamed route has the name ""."""
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            deeper = (*spaces, pattern.namespace) if pattern.namespace else spaces
            yield from route_names(pattern, deeper)
        elif isinstance(pattern, URLPattern):
            yield (":".join((*spaces, pattern.name)) if pattern.name else "", str(pattern.pattern))


def undeclared(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Return the routes without an entry and the entries without a route."""
    found: list[CheckMessage] = []
    try:
        declared = set(rules().routes)
    except ImproperlyConfigured as error:
        return [Error(str(error), hint=_HINT, id="access.E003")]
    names = list(route_names())
    for name, pattern in names:
        if name not in declared:
            shown = f'The route "{name}"' if name else f'The unnamed route "{pattern}"'
            found.append(Error(f"{shown} has no declared permission.", hint=_HINT, id="access.E001"))
    for name, rule in rules().routes.items():
        if rule.get("POST") == Permission.ANYONE and name not in ROUTES:
            found.append(Error(f'Anyone may send to "{name}", without a limit.', hint=_LIMIT_HINT, id="access.E004"))
    for name in sorted(declared - {name for name, _ in names}):
        sentence = f'permissions.toml declares the route "{name}", which does not exist.'
        found.append(Error(sentence, hint="Remove the line.", id="access.E002"))
    return found


def refuse_to_start() -> None:
    """Raise `ImproperlyConfigured` if a route is undeclared. Stops gunicorn, which runs no checks."""
    problems = undeclared()
    if problems:
        raise ImproperlyConfigured(" ".join(str(problem.msg) for problem in problems) + f" {_HINT}")
