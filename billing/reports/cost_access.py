"""Access to cost: the roles that may open a connection's invoice breakdown (permissions.toml)."""

from __future__ import annotations

from django.http import HttpRequest

from portal.access.permissions import allowed
from portal.htmx import person

ROUTE = "billing:pool"


def sees_cost(request: HttpRequest) -> bool:
    return allowed(person(request).role, ROUTE)
