"""Command that scans the providers' account lists, as the nightly scan and the drift page do."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from customers.connections.client import background_client
from customers.management.chosen import connections
from customers.models import Account, Connection, Scan
from customers.observed import account_list
from customers.reconcile.drift import drifting
from portal.clock import database_now
from portal.encryption import DecryptionError


class Command(BaseCommand):
    help = (
        "Scan the providers' account lists and compare them with the stored accounts. Changes nothing at a "
        "provider. Exits with 1 if a scan was incomplete or its list was ignored."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--connection", help="name or public ID (default: all connections that are not paused)")

    def handle(self, *_: Any, connection: str | None, **__: Any) -> None:
        failed = [each.name for each in connections(connection) if not self._walk(each)]
        if failed:
            raise CommandError(f"Not completed: {', '.join(failed)}.")

    def _walk(self, connection: Connection) -> bool:
        if not connection.is_readable:
            self.stderr.write(f"{connection.name}: paused. {connection.paused_reason}")
            return False
        now = database_now()
        try:
            provider = background_client(connection)
        except DecryptionError as refusal:
            self.stderr.write(f"{connection.name}: {refusal}")
            return False
        # Started here at once: no worker gets a message, and none begins a second scan.
        scan, begun = account_list.begin_scan(
            connection=connection, kind=Scan.Kind.ASKED, slot=now.isoformat(), now=now, taken=True
        )
        if not begun:
            self.stderr.write(f"{connection.name}: a scan is already in progress. See Drift.")
            return False
        account_list.read_account_list(scan, provider)
        scan.refresh_from_db()
        if scan.state != Scan.State.COMPLETE:
            self.stderr.write(f"{connection.name}: {scan.get_state_display()}. {scan.message}")
            return False
        differing = drifting(Account.objects.filter(connection=connection)).count()
        self.stdout.write(
            f"{connection.name}: {scan.seen} accounts scanned, {scan.first_seen} new, "
            f"{scan.orphans} unlinked, {scan.missing} missing, {differing} with drift."
        )
        return True
