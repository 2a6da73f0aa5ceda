from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.closing.runs.verification import verify_closed_months


class Command(BaseCommand):
    help = "Verify that nothing of a closed month was changed, removed, or added."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--head", default="", help='"seq:hash" from an earlier run or from the log')
        parser.add_argument("--month", default="", help="YYYY-MM: read the statements of this month alone")

    def handle(self, *args: Any, **options: Any) -> None:
        month = None
        if options["month"]:
            try:
                month = datetime.strptime(options["month"], "%Y-%m").date()  # noqa: DTZ007  a month has no zone
            except ValueError:
                raise CommandError("--month must be a month, such as 2026-11.") from None
        found = verify_closed_months(head=options["head"], month=month)
        for problem in found.problems:
            self.stderr.write(problem)
        self.stdout.write(f"{found.runs} closings, {found.statements} statements verified. Head: {found.head}")
        if found.problems:
            raise CommandError("Closed months have been altered.")
        self.stdout.write("The closed months are intact.")
