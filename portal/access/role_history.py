"""Permissions of custom roles at an earlier moment, from the audit log: names and permissions change."""

from __future__ import annotations

from portal.access.models import CustomRole
from portal.access.permissions import Permission, permissions_of_codes
from portal.audit.expiry import expired_until
from portal.audit.models import AuditEvent

_TYPE = "access.customrole"


def custom_role_had(name: str, permission: Permission, *, event_id: int) -> bool:
    """Return whether the custom role that had this name at the audit event had the permission then."""
    if expired_until():
        return _had_with_short_log(name, permission, event_id)
    earlier = AuditEvent.objects.filter(object_type=_TYPE, id__lt=event_id)
    named = earlier.filter(object_label=name).order_by("-id").first()
    if named is None:
        return False
    codes: set[str] = set()
    for after in earlier.filter(object_id=named.object_id).order_by("id").values_list("after", flat=True):
        codes |= set(after.get("permissions_added", ()))
        codes -= set(after.get("permissions_removed", ()))
    return permission in permissions_of_codes(codes)


def _had_with_short_log(name: str, permission: Permission, event_id: int) -> bool:
    """Do the same where retention removed the oldest events: from the permissions of now, back to that event. A role
    that was neither renamed nor edited since the log begins has its name of now."""
    events = AuditEvent.objects.filter(object_type=_TYPE)
    named = events.filter(object_label=name, id__lt=event_id).order_by("-id").first()
    named = named or events.filter(object_label=name).order_by("id").first()
    role = CustomRole.objects.filter(**({"public_id": named.object_id} if named else {"name": name})).first()
    if role is None:
        return False
    codes = set(role.permissions)
    later = events.filter(object_id=role.public_id, id__gte=event_id).order_by("-id")
    for after in later.values_list("after", flat=True):
        codes -= set(after.get("permissions_added", ()))
        codes |= set(after.get("permissions_removed", ()))
    return permission in permissions_of_codes(codes)
