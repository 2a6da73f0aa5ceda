"""Approval rules for tests, as they are after an admin changed them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from portal.approvals.kinds import RULES
from portal.approvals.models import ApprovalRule


def switch_on(*kinds: str, **facts: Any) -> None:
    """Switch these rules on, or all of them."""
    now = timezone.now()
    for kind in kinds or RULES:
        ApprovalRule.objects.update_or_create(kind=kind, defaults={"is_on": True, "on_since": now} | facts)
