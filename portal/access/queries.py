"""Queries of the staff pages."""

from __future__ import annotations

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from portal.access.models import User
from portal.access.roles import Role
from portal.audit.models import AuditEvent
from portal.audit.queries import AuditEntry, entry_of
from portal.query_params import searchable

STATUSES = (("active", _("Active")), ("waiting", _("Has not joined yet")), ("disabled", _("Disabled")))
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


def staff_rows(*, search: str = "", role: str = "", status: str = "", sort: str = "") -> QuerySet[User]:
    """Return staff users in the requested order (default: name). Unknown filter values are ignored."""
    people = User.objects.all()
    for word in searchable(search).split()[:5]:
        people = people.filter(Q(name__icontains=word) | Q(email__icontains=word))
    if role in Role.values:
        people = people.filter(role=role)
    if status in _STATUS:
        people = people.filter(_STATUS[status])
    return people.order_by(*_SORTS.get(sort, _SORTS["name"]), "pk")


def events_around(person: User, limit: int = 20) -> list[AuditEntry]:
    """Return the newest events by or about this user."""
    around = AuditEvent.objects.filter(Q(actor=person) | Q(object_id=person.public_id))
    return [entry_of(event) for event in around.order_by("-id")[:limit]]
