"""Queries of the staff pages, and of users by permission."""

from __future__ import annotations

from dataclasses import replace

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.access.models import CustomRole, User
from portal.access.permissions import Permission, roles_of
from portal.access.roles import Role
from portal.audit.models import AuditEvent
from portal.audit.queries import AuditEntry, entry_of
from portal.audit.verbs import OF_COST
from portal.filters import Filter, ListFilters, one_of, search_filter, sort_filter
from portal.typed_text import matches

STATUSES = (("active", _("Active")), ("waiting", _("Invited")), ("disabled", _("Disabled")))
NOT_CONNECTED = ("unconnected", _("Not connected"))  # to single sign-on
_NO_PASSWORD = Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
_SORTS = {
    "name": [F("name").asc()],
    "-name": [F("name").desc()],
    "seen": [F("last_seen_at").asc(nulls_first=True)],
    "-seen": [F("last_seen_at").desc(nulls_last=True)],
}


def has_joined_condition() -> Q:
    """Return the condition for `User.has_joined`: a password, or a link to the identity provider."""
    return ~_NO_PASSWORD | Q(_linked())


def _linked() -> Exists:
    return Exists(SocialAccount.objects.filter(user=OuterRef("pk"), provider=settings.OIDC_ISSUER))


def status_choices() -> list[tuple[str, str | Promise]]:
    return [*STATUSES, *([NOT_CONNECTED] if settings.OIDC_ISSUER else [])]


def _with_status(status: str) -> Q:
    joined = has_joined_condition()
    if status == "disabled":
        return Q(is_active=False)
    if status == NOT_CONNECTED[0]:
        return Q(is_active=True) & ~Q(_linked())
    return Q(is_active=True) & (joined if status == "active" else ~joined)


def role_choices() -> list[tuple[str, str]]:
    """Return the roles that a team member may get, built-in ones first: `User.role_code` and the name."""
    custom = CustomRole.objects.filter(is_archived=False)
    return [*((code, str(name)) for code, name in Role.choices), *((str(each.public_id), each.name) for each in custom)]


def role_label(code: str) -> str:
    """Return the name of a role by its `User.role_code`, also of an archived one."""
    if code in Role.values:
        return str(Role(code).label)
    custom = CustomRole.objects.filter(public_id=code).first()
    return custom.name if custom else code


def people_who_may(permission: Permission) -> QuerySet[User]:
    """Return the active users whose role, built-in or custom, has the permission now."""
    custom = [role.pk for role in CustomRole.objects.filter(is_archived=False) if permission in role.granted]
    return User.objects.filter(Q(role__in=roles_of(permission)) | Q(custom_role__in=custom), is_active=True)


def _role_code(text: str) -> str | None:
    """Parse the filter by role. An archived role has no members and is as good as unknown."""
    return text if text in dict(role_choices()) else None


class StaffFilters(ListFilters):
    q = search_filter()
    role = Filter(_("Role"), _role_code)
    status = Filter(_("Status"), one_of(dict([*STATUSES, NOT_CONNECTED])))
    sort = sort_filter(("name", "seen"), "name")


def staff_rows(filters: StaffFilters) -> QuerySet[User]:
    """Return staff users in the requested order (default: name)."""
    people = filters.narrow(User.objects.select_related("custom_role"))
    if filters.role:
        of_role = Q(role=filters.role) if filters.role in Role.values else Q(custom_role__public_id=filters.role)
        people = people.filter(of_role)
    for word in filters.q.split()[:5]:
        people = people.filter(matches("name__icontains", word) | matches("email__icontains", word))
    if filters.status:
        people = people.filter(_with_status(filters.status))
    return people.order_by(*_SORTS[filters.sort], "pk").prefetch_related("socialaccount_set")


def events_around(person: User, *, reader: User, limit: int = 20) -> list[AuditEntry]:
    """Return the newest events by or about this user. Changed values, which may be cost, are for readers of the audit
    log."""
    around = AuditEvent.objects.filter(Q(actor=person) | Q(object_id=person.public_id))
    if not reader.may(Permission.VIEW_COST):  # that a cost list exists, and its name, is for those who see cost
        for prefix in OF_COST:
            around = around.exclude(verb__startswith=prefix)
    found = [entry_of(event) for event in around.order_by("-id")[:limit]]
    return found if reader.may(Permission.VIEW_AUDIT_LOG) else [replace(each, differences=[]) for each in found]
