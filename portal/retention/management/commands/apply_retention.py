"""Command that applies the retention rules at once, or says what it would remove."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.clock import database_now
from portal.retention import periods, runs
from portal.retention.models import RetentionRun
from portal.retention.rules import COUNTED


class Command(BaseCommand):
    help = "Remove the rows whose retention period is over, as the nightly job does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what would be removed, and remove nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            self._count()
            return
        run = runs.apply_now()
        if run is None:
            raise CommandError("A retention run is in progress. Try again when it has ended.")
        self._report(run)

    def _count(self) -> None:
        now = database_now()
        for rule, days, _stored in periods.all_periods():
            n = periods.count_due(rule, days, now=now)
            period = "kept" if days is None else f"{days} days"
            self.stdout.write(f"{rule.code} ({period}): {min(n, COUNTED)}{'+' if n > COUNTED else ''}")

    def _report(self, run: RetentionRun) -> None:
        for code, n in run.removed.items():
            self.stdout.write(f"{code}: {n} removed")
        if run.only_counts:
            self.stdout.write("This first run only counted. Look at the periods, then run the command again.")
        elif not run.removed:
            self.stdout.write("Nothing to remove.")
        if run.remaining:
            self.stdout.write("Stopped at the time limit. The next run continues.")
        if run.errors:
            failed = ", ".join(f"{code} ({error})" for code, error in run.errors.items())
            raise CommandError(f"These rules failed: {failed}. See the log.")
