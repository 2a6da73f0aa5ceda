"""Check of the backups: none for too long, the last one failed, or none is made at all."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils.translation import gettext as _

from customers.monitoring.doctor.findings import Finding, error, warning
from customers.monitoring.heartbeat import Alarm, tell
from portal.formats import ago_text
from portal.installation import archive
from portal.installation.models import Backup

# A daily backup, and two hours for one that takes long or is tried again.
LATE = timedelta(hours=26)
BACKUP_LATE = "backup.late"


def examine_backups(*, now: datetime) -> Finding | None:
    """Return what is wrong with the backups; None where none are wanted, as in development."""
    last = archive.last_good()
    lost = _("If the database is lost, everything since the last backup is lost.")
    if last is None and not settings.BACKUP_RECIPIENTS:
        if not settings.PRODUCTION:
            return None
        fix = _("Set BACKUP_RECIPIENTS, and run manage.py backup --daily 02:30.")
        return error("backups.none", _("No backups are made"), lost, fix)
    if last and last.finished_at > now - LATE:
        return None
    latest = Backup.objects.first()
    fix = _("Check the process that runs manage.py backup, and its log.")
    if latest and latest.error:
        fix = _("The latest attempt failed: %(why)s") % {"why": latest.error}
    if last is None:
        return warning("backups.first", _("There is no backup yet"), lost, fix)
    return error("backups.old", _("The last backup was made %(ago)s") % {"ago": ago_text(last.finished_at)}, lost, fix)


def check_backup_age(*, now: datetime) -> None:
    """Alert the admins while there is something wrong with the backups."""
    found = examine_backups(now=now)
    alarm = Alarm("danger", found.title, f"{found.why} {found.fix}") if found else None
    tell(BACKUP_LATE, alarm, about=BACKUP_LATE, now=now)
