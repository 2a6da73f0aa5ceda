"""Retention of browser reports."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from portal.browser_reports.models import BrowserReport
from portal.retention.rules import RetentionRule


def _last_seen(before: datetime) -> QuerySet[BrowserReport]:
    return BrowserReport.objects.filter(last_seen_at__lt=before)


RULE = RetentionRule(
    "browser_reports",
    _("Browser reports"),
    removes=_("Kinds of reports that no browser has sent since."),
    keeps=_("Kinds that are still reported."),
    rows=_last_seen,
    days=30,
    least=7,
)
