from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.audit import chain


class Command(BaseCommand):
    help = "Verify that no sealed audit event was changed, removed, reordered or inserted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--head", default="", help='"seq:hash" from an earlier run or from the log')

    def handle(self, *args: Any, **options: Any) -> None:
        found = chain.verify_chain(head=options["head"])
        for problem in found.problems:
            self.stderr.write(problem)
        for note in found.notes:
            self.stdout.write(note)
        count = found.sealed - found.first + 1
        self.stdout.write(
            f"{count} events sealed, from seal {found.first} on, {found.redacted} of them redacted, "
            f"and {found.unsealed} not sealed yet. Head: {found.head}"
        )
        if found.problems:
            raise CommandError("The audit log has been altered.")
        self.stdout.write("The audit log is intact.")
