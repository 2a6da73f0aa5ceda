"""Find rows that earlier faults damaged, and with --apply fix them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from customers.monitoring import repair


class Command(BaseCommand):
    help = (
        "List rows that earlier bugs damaged: duplicate accounts, operations that need review for no reason, "
        "requests whose response was not recorded, offering names without their spaces. With --apply, fix "
        "them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--apply", action="store_true", help="fix the listed rows (default: change nothing)")

    def handle(self, *_: Any, apply: bool, **__: Any) -> None:
        found = fixed = left = 0
        for finding in list(repair.find()):
            found += 1
            if finding.fix is None:
                self.stdout.write(f"{finding.topic:<10} REVIEW    {finding.what}")
            elif not apply:
                self.stdout.write(f"{finding.topic:<10} WOULD FIX {finding.what}")
            elif finding.fix(timezone.now()):
                fixed += 1
                self.stdout.write(f"{finding.topic:<10} FIXED     {finding.what}")
            else:
                left += 1
                self.stdout.write(f"{finding.topic:<10} SKIPPED   {finding.what}")
        if not apply:
            self.stdout.write(
                f"{found} found. Nothing was changed. Run with --apply to fix all rows that are not marked REVIEW."
            )
            return
        self.stdout.write(f"{found} found, {fixed} fixed.")
        if left:
            raise CommandError(f"{left} rows changed in the meantime or are locked. Run the command again.")
