"""Command that prepares the demo's database, users and customers in one process, so that a later start is quick."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError

from portal.access.models import User
from portal.demo.run import COLLEAGUES, LOGINS


class Command(BaseCommand):
    help = "Migrate, and fill what the demo lacks. Only with PORTAL_DEMO=1; started by `make run`."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This is not a demo: PORTAL_DEMO is not set.")
        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        for role, (email, name) in [*LOGINS.items(), *COLLEAGUES]:
            _person(role=role, email=email, name=name, password=os.environ["DEMO_PASSWORD"])
        # seed_demo is a separate command; DEMO_SEED=0 skips it.
        if os.environ.get("DEMO_SEED", "1") != "0" and "seed_demo" in get_commands():
            call_command("seed_demo")  # reads the sandbox's address from the environment


def _person(*, role: str, email: str, name: str, password: str) -> None:
    """Create the user unless they exist; a role or name changed in the demo stays changed."""
    if User.objects.filter(email=email).exists():
        return
    User.objects.create_user(email, password, name=name, role=role)
