"""``{% load access %}{% can "customers:account-suspend" "POST" as ok %}``: permission checks in templates."""

from __future__ import annotations

from django import template

from portal.access.permissions import may_open

register = template.Library()


@register.simple_tag(takes_context=True)
def can(context: template.Context, route: str, method: str = "GET") -> bool:
    """Return whether the request's user may use the route. False without a user (error pages)."""
    user = getattr(context.get("request"), "user", None)
    return may_open(getattr(user, "role", ""), route, method)
