"""``{% load access %}{% can "customers:account-suspend" "POST" as ok %}``: permission checks in templates."""

from __future__ import annotations

from django import template
from django.conf import settings

from portal.access.models import User
from portal.access.permissions import may_open, permissions_of
from portal.access.sso.queries import SsoStatus, is_configured, sso_status

register = template.Library()


@register.simple_tag(takes_context=True)
def can(context: template.Context, route: str, method: str = "GET") -> bool:
    """Return whether the request's user may use the route. False without a user (error pages)."""
    user = getattr(context.get("request"), "user", None)
    return may_open(getattr(user, "permissions", permissions_of("")), route, method)


@register.simple_tag
def sso_name() -> str:
    """Return the name of the identity provider, "" if there is none."""
    return settings.OIDC_NAME if is_configured() else ""


@register.simple_tag
def sso_of(person: User) -> SsoStatus:
    """Return the single sign-on of a team member."""
    return sso_status(person)
