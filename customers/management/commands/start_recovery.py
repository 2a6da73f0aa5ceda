"""Command that puts every connection on hold, after a restore by other means than `manage.py restore`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from customers.models import Recovery
from customers.recovery.hold import hold_everything
from portal.clock import database_now


class Command(BaseCommand):
    help = (
        "Put every connection on hold, because the database was restored by other means than manage.py restore: from a "
        "snapshot, to a point in time, or on a replica that lagged. Ends all sessions."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=datetime.fromisoformat,
            required=True,
            metavar="TIME",
            help="the moment whose rows the database has, such as 2026-11-30T02:30; UTC unless it names an offset",
        )
        parser.add_argument("--reason", required=True, help="recorded in the audit log")

    def handle(self, *args: Any, since: datetime, reason: str, **options: Any) -> None:
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
        if since > database_now():
            raise CommandError(f"{since.isoformat()} is in the future.")
        hold_everything(reason, backup_at=since)
        n = Recovery.objects.filter(released_at=None).count()
        self.stdout.write(f"On hold: {n} connections. Release them on the page Recovery.")
