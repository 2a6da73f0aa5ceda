"""Fill the database of the environment: the demo's three months, then rows in the states that the demo never shows.

Started by `tests.upgrade.make`. Time stands at a fixed day, so the story is the same whenever it is told.
"""

from __future__ import annotations

import os

import django
import time_machine
from django.core.management import call_command

from tests.upgrade.stored import TODAY


def main() -> None:
    call_command("prepare_demo")
    from tests.upgrade.extras import Extras  # noqa: PLC0415 - models, so only once Django is set up

    Extras(TODAY).add()
    call_command("check_invariants")
    call_command("verify_audit")


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
    with time_machine.travel(TODAY, tick=True):
        django.setup()
        main()
