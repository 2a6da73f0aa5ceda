"""Command that writes an encrypted backup of the database, once or every day."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, close_old_connections

from portal import liveness
from portal.installation import archive
from portal.installation.manifest import Unusable

log = structlog.get_logger(__name__)
# After a failed backup the next one is tried this much later.
TRY_AGAIN = timedelta(minutes=10)
# How often the schedule is compared with the clock, and the file of the health probe is renewed.
LOOK = timedelta(seconds=30)


class Command(BaseCommand):
    help = "Write an encrypted backup of the database to BACKUP_DIR, and delete those older than BACKUP_KEEP_DAYS."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--daily", type=time.fromisoformat, metavar="HH:MM", help="stay, and back up each day at this UTC time"
        )
        what.add_argument(
            "--check", type=Path, metavar="FOLDER", help="check that a backup is whole, and back up nothing"
        )
        parser.add_argument("--identity", type=Path, metavar="FILE", help="with --check: decrypt it as well")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["check"]:
                keys = archive.identities(options["identity"]) if options["identity"] else None
                manifest = archive.verify(options["check"], keys)
                how = "decrypted" if keys else "not decrypted: name the --identity to check that too"
                self.stdout.write(f"{manifest.name} is whole ({manifest.bytes} bytes, {how}).")
            elif options["daily"]:
                self._daily(options["daily"])
            else:
                manifest = archive.back_up(now=datetime.now(UTC))
                self.stdout.write(f"{settings.BACKUP_DIR / manifest.name}: {manifest.bytes} bytes.")
        except Unusable as error:
            raise CommandError(str(error)) from None

    def _daily(self, at: time) -> None:
        """Back up when the last good backup is from before the latest scheduled time, until a signal ends this."""
        if settings.BACKUP_RECIPIENTS:
            archive.recipients()  # a wrong setting is told at once
        else:
            log.error("backup.off", why="BACKUP_RECIPIENTS is not set: nothing is backed up.")
        ended = Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: ended.set())
        not_before = datetime.min.replace(tzinfo=UTC)
        while not ended.is_set():
            now = datetime.now(UTC)
            liveness.report("backup")
            if settings.BACKUP_RECIPIENTS and now >= not_before and is_due(at, now=now):
                not_before = now + TRY_AGAIN
                try:
                    archive.back_up(now=now, progress=lambda: liveness.report("backup"))
                except (Unusable, OperationalError) as error:
                    log.warning("backup.tried", error=str(error), again_at=not_before.isoformat())
                close_old_connections()
            ended.wait(LOOK.total_seconds())


def is_due(at: time, *, now: datetime) -> bool:
    """Return whether there is no good backup since the latest scheduled time. Before the first one it is due."""
    scheduled = datetime.combine(now.date(), at, tzinfo=UTC)
    if scheduled > now:
        scheduled -= timedelta(days=1)
    try:
        last = archive.last_good()
    except OperationalError:
        return False
    return last is None or last.started_at < scheduled
