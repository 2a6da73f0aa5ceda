from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from customers.monitoring import invariants, nightly_check


class Command(BaseCommand):
    help = "Check all that must hold of the tables, and keep the answer for the page. Exit code 1: not all of it does."

    def handle(self, *args: Any, **options: Any) -> None:
        holds = {each.code: str(each.holds) for each in invariants.registered()}
        check = nightly_check.check_now()
        for found in check.found:
            broken = bool(found["rows"] or found["error"])
            self.stdout.write(f"{found['code']:<4} {'BROKEN' if broken else 'holds':<6} {holds[found['code']]}")
            for row in found["rows"]:
                self.stdout.write(f"       {row}")
            if found["more"]:
                self.stdout.write("       and more")
            if found["error"]:
                self.stdout.write(f"       could not be asked: {found['error']}")
        if check.broken:
            raise CommandError(f"{check.broken} of {len(check.found)} do not hold.")
        self.stdout.write(f"All {len(check.found)} hold.")
