"""Access that changed in the last `SETTLING`, by the audit log.

One person could otherwise make the second one that approves, or make sure that nobody is left who could.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from portal.access.models import CustomRole, User
from portal.access.permissions import Permission, permissions_of, permissions_of_codes
from portal.access.role_history import custom_role_had
from portal.access.roles import Role
from portal.audit.models import AuditEvent

SETTLING = timedelta(hours=24)
BY_ADMIN = (
    "staff.invited",
    "staff.role_changed",
    "staff.enabled",
    "staff.reset_link_made",
    "staff.second_factor_reset",
)
# The identity provider's groups give a role: no approver saw it, and no user of the portal is its actor.
BY_GROUPS = ("staff.role_from_groups", "staff.created_by_sso")
# A link that an admin sees, and what whoever opens it does first.
LINKS = ("staff.invited", "staff.reset_link_made")
JOINS = ("staff.password_changed", "staff.sso_linked")
ROLE_EDITED = "role.permissions_changed"
CHANGES = ("staff.disabled", *BY_ADMIN[1:], ROLE_EDITED)
LOSSES = ("staff.disabled", "staff.role_changed", "staff.reset_link_made", "staff.role_from_groups", ROLE_EDITED)


@dataclass(frozen=True)
class Settling:
    """Recent grants as (actor, person) and edits of roles as (actor, role), by primary key and public ID. The actor of
    a grant by groups is None."""

    grants: frozenset[tuple[int | None, UUID]]
    role_edits: frozenset[tuple[int | None, UUID]]

    @classmethod
    def at(cls, now: datetime) -> Settling:
        events: QuerySet[Any, Any] = _since(now).values_list("actor_id", "object_id")
        granted = _without_approval(events.filter(Q(verb__in=BY_ADMIN, actor__isnull=False) | Q(verb__in=BY_GROUPS)))
        links: QuerySet[Any, Any] = AuditEvent.objects.filter(pk__in=_links_of_joins(now))
        links = links.values_list("actor_id", "object_id")
        edits = events.filter(verb=ROLE_EDITED)
        return cls(frozenset(granted) | frozenset(links), frozenset(edits))

    @property
    def people(self) -> set[UUID]:
        return {person for _actor, person in self.grants}

    @property
    def roles(self) -> set[UUID]:
        return {role for _actor, role in self.role_edits}

    def givers(self, requester: User) -> set[int]:
        """Return who gave the requester access, also by an edit of their role."""
        given = {actor for actor, person in self.grants if person == requester.public_id}
        if role := requester.custom_role:
            given |= {actor for actor, edited in self.role_edits if edited == role.public_id}
        return {actor for actor in given if actor is not None}


def changed_approvers(actor: User, permissions: Iterable[Permission], *, now: datetime) -> bool:
    """Return whether this user recently changed, without approval, the access of anyone who held these permissions."""
    needed = frozenset(permissions)
    events = _without_approval(_since(now).filter(actor=actor, verb__in=CHANGES)).exclude(object_id=actor.public_id)
    return any(_held_before(event, needed) for event in events)


def lost_access(permission: Permission, *, now: datetime) -> set[int]:
    """Return the users, by primary key, who held the permission and were recently disabled, demoted or locked out."""
    lost: set[UUID] = set()
    roles: set[UUID] = set()
    for event in _since(now).filter(verb__in=LOSSES):
        if event.object_id and _held_before(event, frozenset({permission})):
            (roles if event.verb == ROLE_EDITED else lost).add(event.object_id)
    found = User.objects.filter(Q(public_id__in=lost) | Q(custom_role__public_id__in=roles))
    return set(found.values_list("pk", flat=True))


def _since(now: datetime) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(at__gt=now - SETTLING, object_id__isnull=False).order_by()


def _without_approval(events: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    return events.exclude(after__has_key="approval")


def _links_of_joins(now: datetime) -> QuerySet[Any, Any]:
    """Return the links, by primary key, that someone used recently to join: whoever had the link has the access since
    then alone."""
    earlier = AuditEvent.objects.filter(object_id=OuterRef("object_id"), id__lt=OuterRef("id"))
    link = _without_approval(earlier.filter(verb__in=LINKS, actor__isnull=False)).order_by("-id")
    joins = _since(now).filter(verb__in=JOINS).annotate(link=Subquery(link.values("id")[:1]))
    joined_before = earlier.filter(verb__in=JOINS, id__gt=OuterRef("link")).order_by()
    return joins.filter(~Exists(joined_before), link__isnull=False).values("link")


def _held_before(event: AuditEvent, needed: frozenset[Permission]) -> bool:
    """Return whether the user or the role of the event had these permissions when it was recorded."""
    if event.verb == ROLE_EDITED:
        return needed <= _of_role_before(event)
    if role := event.before.get("role"):
        if role in Role.values:
            return needed <= permissions_of(role)
        return all(custom_role_had(role, each, event_id=event.pk) for each in needed)
    person = User.objects.select_related("custom_role").filter(public_id=str(event.object_id)).first()
    return person is not None and needed <= person.permissions


def _of_role_before(event: AuditEvent) -> frozenset[Permission]:
    """Return the permissions of a role before its edit: those of now, without what was done since."""
    role = CustomRole.objects.filter(public_id=str(event.object_id)).first()
    codes = set(role.permissions) if role else set()
    later = AuditEvent.objects.filter(object_id=event.object_id, verb=ROLE_EDITED, id__gte=event.pk).order_by("-id")
    for after in later.values_list("after", flat=True):
        codes -= set(after.get("permissions_added", ()))
        codes |= set(after.get("permissions_removed", ()))
    return permissions_of_codes(codes)
