"""Retention rules of the portal's own tables."""

from __future__ import annotations

from datetime import datetime

from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.access.models import CacheEntry
from portal.access.sessions import forget_ended
from portal.audit import expiry
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.installation.models import Backup
from portal.notices.models import Notice
from portal.retention.models import RetentionRun
from portal.retention.rules import RetentionRule


def _sessions(before: datetime) -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lt=before)


def _remove_sessions(before: datetime, limit: int) -> int:
    """Delete expired sessions, which Django itself never does, and what is listed of sessions that have ended."""
    keys = list(_sessions(before).order_by("pk").values_list("pk", flat=True)[:limit])
    Session.objects.filter(pk__in=keys, expire_date__lt=before).delete()
    if not keys:
        forget_ended()
    return len(keys)


def _cache_entries(before: datetime) -> QuerySet[CacheEntry]:
    return CacheEntry.objects.filter(expires__lt=before)


def _notices(before: datetime) -> QuerySet[Notice]:
    return Notice.objects.filter(ended_at__lt=before)


def _backups(before: datetime) -> QuerySet[Backup]:
    newest = Backup.objects.filter(error="").order_by("-finished_at", "-pk").values("pk")[:1]
    return Backup.objects.filter(finished_at__lt=before).exclude(pk__in=list(newest.values_list("pk", flat=True)))


def _runs(before: datetime) -> QuerySet[RetentionRun]:
    return RetentionRun.objects.filter(finished_at__lt=before)


def _audit_events(before: datetime) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(at__lt=before)


def _expire_audit_events(before: datetime, limit: int) -> int:
    return expiry.expire(Command(None, timezone.now()), before=before, limit=limit)


RULES = (
    RetentionRule(
        "audit_events",
        _("Audit log"),
        removes=_("The oldest events of the audit log."),
        keeps=_(
            "A signed checkpoint, by which the rest is verified. Moves of accounts to another customer are stored for "
            "billing before their events are removed."
        ),
        rows=_audit_events,
        remove=_expire_audit_events,
        least=730,
        may_keep=True,
        batch=10_000,
    ),
    RetentionRule(
        "notices",
        _("Notifications"),
        removes=_("Notifications to admins and team members that were resolved."),
        keeps=_("Notifications that are still open: they end by themselves when the problem does."),
        rows=_notices,
        days=90,
        least=7,
    ),
    RetentionRule(
        "backup_history",
        _("List of backups"),
        removes=_("Entries about backups and failed attempts. Backup files have their own period, BACKUP_KEEP_DAYS."),
        keeps=_("The entry of the last good backup, by which a missing one is noticed."),
        rows=_backups,
        days=365,
        least=30,
        may_keep=True,
    ),
    RetentionRule(
        "retention_runs",
        _("Retention runs"),
        removes=_("Runs of this job with their counts."),
        keeps=_("Their events in the audit log, which have the same counts."),
        rows=_runs,
        days=400,
        least=30,
    ),
    RetentionRule(
        "sessions",
        _("Sign-in sessions"),
        removes=_("Expired sessions, with their browser and IP address."),
        keeps=_("Sessions in use. They expire by themselves."),
        rows=_sessions,
        remove=_remove_sessions,
        is_fixed=True,
    ),
    RetentionRule(
        "sign_in_limits",
        _("Sign-in limits"),
        removes=_("Counters of sign-in attempts and other temporary values in the database's cache."),
        keeps=_("Counters that still limit something. With Redis, the cache isn't in the database."),
        rows=_cache_entries,
        is_fixed=True,
    ),
)
