"""Find rows that earlier faults damaged, and with --apply fix them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from customers.monitoring import repair


class Command(BaseCommand):
    help = (
        "List rows that earlier faults of the portal harmed: accounts owned twice, operations that wait for a person "
        "without a reason, sends that were passed over, names that lost spaces. With --apply, fix them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--apply", action="store_true", help="fix what is listed; without it nothing is changed")

    def handle(self, *_: Any, apply: bool, **__: Any) -> None:
        found = fixed = left = 0
        for finding in list(repair.find()):
            found += 1
            if finding.fix is None:
                self.stdout.write(f"{finding.topic:<10} REVIEW  {finding.what}")
            elif not apply:
                self.stdout.write(f"{finding.topic:<10} would   {finding.what}")
            elif finding.fix(timezone.now()):
                fixed += 1
                self.stdout.write(f"{finding.topic:<10} fixed   {finding.what}")
            else:
                left += 1
                self.stdout.write(f"{finding.topic:<10} LEFT    {finding.what}")
        if not apply:
            self.stdout.write(f"{found} found. Nothing was changed; --apply fixes what is not marked REVIEW.")
            return
        self.stdout.write(f"{found} found, {fixed} fixed.")
        if left:
            raise CommandError(f"{left} changed meanwhile or are busy. Run the command again.")
