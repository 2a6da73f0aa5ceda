from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from customers.monitoring.doctor.findings import Severity
from customers.monitoring.doctor.services import send_test_message
from customers.monitoring.doctor.table import examine


class Command(BaseCommand):
    help = (
        "Check the whole deployment: database, Redis, mail, processes, keys, files, providers. Changes nothing. Exits "
        "with 2 if it found an error, 1 for warnings alone."
    )
    requires_system_checks = ()  # they are among the findings

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as a JSON list")
        parser.add_argument("--mail", metavar="TO", default="", help="also send a test message to this address")

    def handle(self, *args: Any, **options: Any) -> None:
        found = [*examine(), *(send_test_message(options["mail"]) if options["mail"] else ())]
        found.sort(key=lambda each: each.severity != Severity.ERROR)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(each) for each in found], indent=2))
        else:
            for each in found:
                self.stdout.write(f"{each.severity.upper()} {each.code}: {each.title}.")
                self.stdout.write(f"  Why: {each.why}\n  Fix: {each.fix}")
            self.stdout.write(f"{len(found)} findings.")
        if found:
            sys.exit(2 if found[0].severity == Severity.ERROR else 1)
