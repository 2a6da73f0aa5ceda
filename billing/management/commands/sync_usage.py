"""Command that runs the nightly usage sync: same run and same slot, so that repeating it adds nothing."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.models import SyncItem, SyncRun
from billing.usage import failure_reasons, runs
from billing.usage import sync as usage_sync
from billing.usage.snapshots import store_final_readings
from customers.management.chosen import connections as chosen_connections
from customers.models import Connection
from portal.clock import database_now
from portal.refusals import Refusal

LOOK_AGAIN = 0.5
SAY_EVERY = 10.0


class Command(BaseCommand):
    help = (
        "Run the nightly usage sync of all accounts and wait until it ends. An interrupted sync resumes "
        "where it stopped. Exits with 1 if a sync was stopped or paused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--connection", help="name or public ID (default: all connections that are not paused)")
        parser.add_argument(
            "--date",
            help=(
                "date of the nightly sync, YYYY-MM-DD in UTC (default: today). Providers report only current "
                "usage, so a sync for a past date stores the usage as of now"
            ),
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would be synced and send no requests")

    def handle(self, *_: Any, connection: str | None, date: str | None, dry_run: bool, **__: Any) -> None:
        slot = _slot(date)
        chosen = chosen_connections(connection)
        if dry_run:
            for each in chosen:
                self._dry(each, slot)
            return
        store_final_readings()
        stopped = [each.name for each in chosen if not self._sync(each, slot)]
        if stopped:
            raise CommandError(f"Not completed: {', '.join(stopped)}.")

    def _dry(self, connection: Connection, slot: str) -> None:
        count = runs.accounts_of(connection).count()
        same = SyncRun.objects.filter(connection=connection, kind=SyncRun.Kind.NIGHTLY, slot=slot).first()
        known = f"sync for {slot}: {same.get_state_display().lower()}" if same else f"no sync for {slot} yet"
        self.stdout.write(
            f"{connection.name}: {count} accounts, usage source {connection.usage_source}, {known}. "
            "No requests were sent."
        )

    def _sync(self, connection: Connection, slot: str) -> bool:
        """Run one connection's nightly run to its end. Return False if it was stopped or is paused."""
        now = database_now()
        if not connection.is_readable:
            self.stderr.write(f"{connection.name}: paused. {connection.paused_reason}")
            return False
        try:
            run, new = self._start(connection, slot, now)
        except Refusal as refusal:
            self.stdout.write(str(refusal))
            return True
        if not new and run.has_ended:
            self.stdout.write(f"{connection.name}: the sync for {slot} has already ended. Nothing was synced again.")
        else:
            self._follow(run)
        self._summary(run)
        return run.state in (SyncRun.State.COMPLETE, SyncRun.State.WITH_ERRORS)

    def _start(self, connection: Connection, slot: str, now: datetime) -> tuple[SyncRun, bool]:
        """Return the nightly run; another open full run is completed first."""
        while True:
            run, new = runs.start_run(
                connection=connection, kind=SyncRun.Kind.NIGHTLY, slot=slot, now=now, until=now + runs.RUN_HOURS
            )
            if (run.kind, run.slot) == (SyncRun.Kind.NIGHTLY, slot):
                return run, new
            self.stdout.write(f"{runs.told_of_running(run)} The sync for {slot} starts when it ends.")
            self._follow(run)
            if not run.has_ended:
                return run, False
            now = database_now()

    def _follow(self, run: SyncRun) -> None:
        """Process the run, or wait while another worker does. Retries come early, since a user is waiting."""
        SyncRun.objects.filter(pk=run.pk, state=SyncRun.State.PAUSED).update(state=SyncRun.State.RUNNING, message="")
        said_at = time.monotonic()
        while True:
            more = usage_sync.sync_chunk(run.pk, gap=timedelta(seconds=5))
            run.refresh_from_db()
            if run.state != SyncRun.State.RUNNING:
                return
            if time.monotonic() - said_at > SAY_EVERY:
                said_at = time.monotonic()
                self.stdout.write(f"{run.connection.name}: {run.settled} of {run.total}")
            if not more:
                time.sleep(LOOK_AGAIN)

    def _summary(self, run: SyncRun) -> None:
        run.refresh_from_db()
        text = (
            f"{run.connection.name}: {run.get_state_display()}. {run.total} accounts, {run.done} synced "
            f"({run.changed} changed, {run.anomalies} anomalies), {run.failed} failed, "
            f"{run.skipped} skipped. {run.message}"
        )
        self.stdout.write(text.strip())
        failed = SyncItem.objects.filter(run=run, state=SyncItem.State.FAILED)
        for cause in sorted(set(failed.values_list("cause", flat=True))):
            self.stdout.write(f"  {failed.filter(cause=cause).count()} x {failure_reasons.look(cause).words}")


def _slot(text: str | None) -> str:
    today = datetime.now(UTC).date()
    if text is None:
        return today.isoformat()
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise CommandError(f'--date is "{text}"; it must be a date such as {today.isoformat()}.') from None
    if day > today:
        raise CommandError("--date can't be in the future.")
    return day.isoformat()
