"""Retention of requests for approval."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from portal.approvals.models import Approval
from portal.retention.rules import RetentionRule

# The trigger of the table refuses to delete younger ones.
LEAST_DAYS = 365


def _ended(before: datetime) -> QuerySet[Approval]:
    return Approval.objects.filter(finished_at__lt=before)


RULE = RetentionRule(
    "approvals",
    _("Approval requests"),
    removes=_("Requests that were decided, canceled, or expired, with what they would have changed."),
    keeps=_("Requests that wait, and the audit log's events about every request and decision."),
    rows=_ended,
    days=1095,
    least=LEAST_DAYS,
    may_keep=True,
)
