"""Command that restores a backup into an empty database, with every connection on hold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.urls import reverse

from customers.recovery.hold import hold_statements, record_restore
from portal.installation import archive
from portal.installation.manifest import Unusable


class Command(BaseCommand):
    help = (
        "Restore a backup into the empty database of DATABASE_URL. Every connection is then on hold: nothing is sent "
        "until it was scanned and an admin released it on the page Recovery."
    )
    requires_migrations_checks = False
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the backup: a folder with manifest.json and database.age")
        parser.add_argument(
            "--identity", type=Path, required=True, metavar="FILE", help="the private key of the backups"
        )

    def handle(self, *args: Any, folder: Path, identity: Path, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            manifest = archive.restore(
                folder,
                archive.identities(identity),
                then=lambda told: hold_statements(backup_at=told.backup_at, now=now, vendor=connection.vendor),
            )
        except Unusable as error:
            raise CommandError(f"{error} Nothing was restored.") from None
        n = manifest.tables["customers_connection"]
        try:
            record_restore(f"manage.py restore {manifest.name}", backup_at=manifest.backup_at)
        except DatabaseError:  # the tables are those of an older release until migrate
            self.stderr.write("The restore is not in the audit log, because the backup is of an older release.")
        self.stdout.write(
            f"Restored {sum(manifest.tables.values())} rows of {manifest.snapshot_at} (release {manifest.version}).\n"
            f"On hold: {n} connections. Next:\n"
            "1. Run: python manage.py migrate\n"
            "2. Run: python manage.py repeat_erasures\n"
            "3. Start the workers, the scheduler and the web processes.\n"
            f"4. Open {reverse('customers:recovery')}, see what happened since, and release each connection."
        )
