"""Permissions of custom roles at an earlier moment, from the audit log: names and permissions change."""

from __future__ import annotations

from portal.access.permissions import Permission, permissions_of_codes
from portal.audit.models import AuditEvent

_TYPE = "access.customrole"


def custom_role_had(name: str, permission: Permission, *, event_id: int) -> bool:
    """Return whether the custom role that had this name at the audit event had the permission then."""
    earlier = AuditEvent.objects.filter(object_type=_TYPE, id__lt=event_id)
    named = earlier.filter(object_label=name).order_by("-id").first()
    if named is None:
        return False
    codes: set[str] = set()
    for after in earlier.filter(object_id=named.object_id).order_by("id").values_list("after", flat=True):
        codes |= set(after.get("permissions_added", ()))
        codes -= set(after.get("permissions_removed", ()))
    return permission in permissions_of_codes(codes)
