"""Permissions of custom roles at an earlier moment, from the audit log: names and permissions change."""

from __future__ import annotations

from portal.access.models import CustomRole
from portal.access.permissions import Permission, permissions_of_codes
from portal.audit.expiry import expired_until
from portal.audit.models import AuditEvent

_TYPE = "access.customrole"


def custom_role_had(name: str, permission: Permission, *, event_id: int) -> bool:
    """Return whether the custom role that had this name at the audit event had the permission then."""
    earlier = AuditEvent.objects.filter(object_type=_TYPE, id__lt=event_id)
    named = earlier.filter(object_label=name).order_by("-id").values_list("object_id", flat=True).first()
    role = CustomRole.objects.filter(public_id=named).first() if named else _role_named(name, event_id=event_id)
    if role is None:
        return False
    # Back from today, because retention removes the oldest events.
    codes = set(role.permissions)
    later = AuditEvent.objects.filter(object_type=_TYPE, object_id=role.public_id, id__gte=event_id)
    for after in later.order_by("-id").values_list("after", flat=True):
        codes -= set(after.get("permissions_added", ()))
        codes |= set(after.get("permissions_removed", ()))
    return permission in permissions_of_codes(codes)


def _role_named(name: str, *, event_id: int) -> CustomRole | None:
    """Return the role whose events before the audit event were removed: it has had the name ever since."""
    until = expired_until()
    found = CustomRole.objects.filter(name=name, created_at__lte=until).first() if until else None
    later = AuditEvent.objects.filter(object_type=_TYPE, id__gte=event_id, before__has_key="name")
    is_renamed = found is not None and later.filter(object_id=found.public_id).exists()
    return None if is_renamed else found
