from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.audit import chain


class Command(BaseCommand):
    help = "Check that no audit event was changed, removed, swapped or put in since it was sealed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--head", default="", help='"seq:hash" of an earlier run or of the log')

    def handle(self, *args: Any, **options: Any) -> None:
        found = chain.verify_chain(head=options["head"])
        for problem in found.problems:
            self.stderr.write(problem)
        self.stdout.write(f"{found.sealed} sealed, {found.unsealed} waiting for a seal. Head: {found.head}")
        if found.problems:
            raise CommandError("The audit record was tampered with.")
        self.stdout.write("The audit record is whole.")
