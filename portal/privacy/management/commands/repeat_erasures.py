"""Command that erases persons again who came back by a restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.commands import Command as PortalCommand
from portal.privacy import erased


class Command(BaseCommand):
    help = (
        "Erase persons again whose data came back by the restore of a backup. They are found by the list of erased "
        "persons in the folder of the backups. Run it after each restore; the workers do the rest."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--list", type=Path, action="append", default=[], metavar="FILE", help="another list")
        parser.add_argument("--dry-run", action="store_true", help="only say who is erased again")

    def handle(self, *args: Any, **options: Any) -> None:
        due = erased.due_again(options["list"])
        for each in due:
            self.stdout.write(f"Erased before as {each.code}, and in the database again.")
        if options["dry_run"]:
            self.stdout.write(f"{len(due)} persons to erase again. Nothing was changed.")
            return
        started = erased.erase_again(PortalCommand(None, reason="Repeated after a restore"), due)
        erased.write_list()
        self.stdout.write(f"{len(started)} erasures started. See the page Personal data.")
