from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.audit.checkpoints import newest
from portal.audit.head import compare_head, current_head


class Command(BaseCommand):
    help = "Print the head of the audit log, or compare the log with an earlier head. Reads a few rows."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--verify", metavar="HEAD", default="", help='an earlier head, "seq:hash"')

    def handle(self, *args: Any, **options: Any) -> None:
        head, begin = current_head(), newest()
        self.stdout.write(f"Head: {head}")
        self.stdout.write(f"Sealed at: {f'{head.sealed_at:%Y-%m-%d %H:%M:%S} UTC' if head.sealed_at else 'never'}")
        self.stdout.write(f"Events: {head.count} sealed, {head.unsealed} not sealed yet")
        self.stdout.write(f"Key ID: {head.key_id or 'none (sealed by an earlier release)'}")
        if begin.n:
            self.stdout.write(f"Begins at seal {begin.first_seq}. Events until {begin.until_at:%Y-%m-%d} were removed.")
        if options["verify"]:
            if problem := compare_head(options["verify"]):
                raise CommandError(problem)
            self.stdout.write(f"The log continues {options['verify'].partition(':')[0]}. To verify it: verify_audit")
