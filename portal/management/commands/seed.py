"""Command that fills an empty database with very many accounts, for demonstrations and measurements."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.demo.seed import NotEmpty, seed


class Command(BaseCommand):
    help = "Fill an empty database with accounts, usage, operations and audit events that look real. Not in production."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--accounts", type=_positive, default=1_000)
        parser.add_argument("--months", type=_positive, default=24)
        parser.add_argument(
            "--last", type=date.fromisoformat, default=datetime.now(UTC).date(), help="a day of the open month"
        )

    def handle(self, *args: Any, accounts: int, months: int, last: date, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError(
                "This installation runs in production. Set PORTAL_ENV=development and DATABASE_URL to a database of"
                " its own, run migrate, and seed that one."
            )
        try:
            seed(accounts=accounts, months=months, last=last.replace(day=1), tell=self.stdout.write)
        except NotEmpty:
            raise CommandError(
                "The database already has connections, customers or operations. Set DATABASE_URL to an empty database"
                " and run migrate first."
            ) from None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
