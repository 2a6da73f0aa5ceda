from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from customers.monitoring import invariants, nightly_check


class Command(BaseCommand):
    help = "Run the integrity checks and store their results for the System status page. Exits with 1 if a check fails."

    def handle(self, *args: Any, **options: Any) -> None:
        holds = {each.code: str(each.holds) for each in invariants.registered()}
        check = nightly_check.check_now()
        for found in check.found:
            broken = bool(found["rows"] or found["error"])
            self.stdout.write(f"{found['code']:<4} {'FAILED' if broken else 'ok':<6} {holds[found['code']]}")
            for row in found["rows"]:
                self.stdout.write(f"       {row}")
            if found["more"]:
                self.stdout.write("       (more rows not shown)")
            if found["error"]:
                self.stdout.write(f"       check could not run: {found['error']}")
        if check.broken:
            raise CommandError(f"{check.broken} of {len(check.found)} integrity checks failed.")
        self.stdout.write(f"All {len(check.found)} integrity checks passed.")
