"""Command that rates a case. `manage.py` runs it without settings; this is for `call_command`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.pricing.rating import cli


class Command(BaseCommand):
    help = cli.HELP
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help=cli.FILE_HELP)

    def handle(self, *_: Any, file: str, **__: Any) -> None:
        try:
            self.stdout.write(cli.rated(file))
        except cli.UnableToRate as error:
            raise CommandError(str(error)) from None
