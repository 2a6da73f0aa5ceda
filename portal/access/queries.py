"""Queries of the staff pages."""

from __future__ import annotations

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from portal.access.models import User
from portal.access.roles import Role
from portal.audit.models import AuditEvent
from portal.audit.queries import AuditEntry, entry_of
from portal.filters import Filter, ListFilters, one_of, search_filter, sort_filter
from portal.typed_text import matches

STATUSES = (("active", _("Active")), ("waiting", _("Invited")), ("disabled", _("Disabled")))
_NO_PASSWORD = Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
_STATUS = {
    "active": Q(is_active=True) & ~_NO_PASSWORD,
    "waiting": Q(is_active=True) & _NO_PASSWORD,
    "disabled": Q(is_active=False),
}
_SORTS = {
    "name": [F("name").asc()],
    "-name": [F("name").desc()],
    "seen": [F("last_seen_at").asc(nulls_first=True)],
    "-seen": [F("last_seen_at").desc(nulls_last=True)],
}


class StaffFilters(ListFilters):
    q = search_filter()
    role = Filter(_("Role"), one_of(Role.values), lookup="role")
    status = Filter(_("Status"), one_of(_STATUS))
    sort = sort_filter(("name", "seen"), "name")


def staff_rows(filters: StaffFilters) -> QuerySet[User]:
    """Return staff users in the requested order (default: name)."""
    people = filters.narrow(User.objects.all())
    for word in filters.q.split()[:5]:
        people = people.filter(matches("name__icontains", word) | matches("email__icontains", word))
    if filters.status:
        people = people.filter(_STATUS[filters.status])
    return people.order_by(*_SORTS[filters.sort], "pk")


def events_around(person: User, limit: int = 20) -> list[AuditEntry]:
    """Return the newest events by or about this user."""
    around = AuditEvent.objects.filter(Q(actor=person) | Q(object_id=person.public_id))
    return [entry_of(event) for event in around.order_by("-id")[:limit]]
