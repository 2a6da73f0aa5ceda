"""Command that creates three months of demo data with the sandbox. Part of the first start of `make run`."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection as database

from customers.connections import commands as connection_commands
from customers.models import Connection, Customer
from portal import commands
from portal.access.models import User
from portal.access.roles import Role
from portal.demo.clock import DemoClock, Sandbox
from portal.demo.script import Story
from portal.demo.staff_actions import Keys, Staff

OPTIONS = {
    "sandbox_url": ("SANDBOX_URL", "base URL of the sandbox"),
    "admin_key": ("SANDBOX_ADMIN_KEY", "key of its admin API"),
    "key_global": ("SANDBOX_SENDGRID_KEY", "API key of the global organization"),
    "key_eu": ("SANDBOX_SENDGRID_EU_KEY", "API key of the EU organization"),
    "key_ahasend": ("SANDBOX_AHASEND_KEY", "API key of the AhaSend parent account"),
    "ahasend_account": ("SANDBOX_AHASEND_ACCOUNT", "ID of the AhaSend parent account"),
}


class Command(BaseCommand):
    help = "Create the demo data. Requires PORTAL_DEMO=1. Creates nothing if customers exist."

    def add_arguments(self, parser: CommandParser) -> None:
        for name, (variable, what) in OPTIONS.items():
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, default=os.environ.get(variable, ""), help=f"{what} (default: {variable})")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This command requires PORTAL_DEMO=1.")
        missing = [name for name in OPTIONS if not options[name]]
        if missing:
            raise CommandError(f"Missing: {', '.join(missing)}.")
        keys = Keys(options["key_global"], options["key_eu"], options["key_ahasend"], options["ahasend_account"])
        if Customer.objects.exists():
            _follow_the_sandbox(options["sandbox_url"], keys)
            return
        began = time.monotonic()
        _work_alone()
        stage = DemoClock(Sandbox(options["sandbox_url"], options["admin_key"]))
        Story(stage, _staff(), keys).play()
        self.stdout.write(f"{Customer.objects.count()} customers created in {time.monotonic() - began:.0f} s.")


def _follow_the_sandbox(url: str, keys: Keys) -> None:
    """Update the connections if the sandbox's port changed since the last start."""
    for facts, key in keys.connections():
        path = facts["base_url"]
        there = Connection.objects.filter(kind=facts["kind"], base_url__regex=rf"^http://127\.0\.0\.1:\d+{path}$")
        for connection in there.exclude(base_url=url + path):
            connection_commands.edit_connection(
                commands.Command(None), connection=connection, facts={"base_url": url + path}, api_key=key
            )


def _work_alone() -> None:
    """Send no task messages, and disable syncs to disk: data lost in a crash is created again."""
    current_app.conf.update(broker_url="memory://localhost/", broker_transport_options={})
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")


def _staff() -> Staff:
    active = User.objects.filter(is_active=True).order_by("pk")
    people = {role: list(active.filter(role=role)) for role in (Role.ADMIN, Role.CUSTOMER_SUCCESS)}
    for role, found in people.items():
        if not found:
            raise CommandError(f"No user has the role {role}. Run `manage.py prepare_demo` first.")
    return Staff(admin=people[Role.ADMIN][0], success=people[Role.CUSTOMER_SUCCESS])
