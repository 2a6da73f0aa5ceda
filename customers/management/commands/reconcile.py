"""Scan the providers' account lists by hand, as the nightly scan and the drift board's button do."""

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
        "Read every account of the provider's list and compare it with ours. Nothing is changed at the provider. "
        "Ends with status 1 when a list could not be read to its end or was not believed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--connection", help="name or public id; without it, all that are not paused")

    def handle(self, *_: Any, connection: str | None, **__: Any) -> None:
        failed = [each.name for each in connections(connection) if not self._walk(each)]
        if failed:
            raise CommandError(f"Nothing was concluded for: {', '.join(failed)}.")

    def _walk(self, connection: Connection) -> bool:
        if connection.paused:
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
            self.stderr.write(f"{connection.name}: a worker is reading this list now. Look at the drift board.")
            return False
        account_list.read_account_list(scan, provider)
        scan.refresh_from_db()
        if scan.state != Scan.State.COMPLETE:
            self.stderr.write(f"{connection.name}: {scan.get_state_display()}. {scan.message}")
            return False
        differing = drifting(Account.objects.filter(connection=connection)).count()
        self.stdout.write(
            f"{connection.name}: {scan.seen} accounts read, {scan.first_seen} for the first time. "
            f"{scan.orphans} are nobody's, {scan.missing} of ours are missing, {differing} differ from what we want."
        )
        return True
