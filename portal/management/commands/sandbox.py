"""`manage.py sandbox`: the provider simulator, with the arguments of `python -m portal.sandbox`."""

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.sandbox import cli


class Command(BaseCommand):
    help = "Serve the provider simulator on loopback: real HTTP, no mail, no cost."
    # It has a store of its own and must start without the portal's database or settings being right.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(cli.run(argparse.Namespace(**options)))
