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
from portal.access.models import User
from portal.access.roles import Role
from portal.demo.clock import DemoClock, Sandbox
from portal.demo.script import Story
from portal.demo.staff_actions import Keys, Staff


class Command(BaseCommand):
    help = "Fill the demo. Only with PORTAL_DEMO=1; does nothing where customers exist."

    def add_arguments(self, parser: CommandParser) -> None:
        for name, variable, what in (
            ("sandbox-url", "SANDBOX_URL", "base URL of the sandbox"),
            ("admin-key", "SANDBOX_ADMIN_KEY", "key of its admin plane"),
            ("key-global", "SANDBOX_SENDGRID_KEY", "key of the global organisation"),
            ("key-eu", "SANDBOX_SENDGRID_EU_KEY", "key of the EU organisation"),
            ("key-ahasend", "SANDBOX_AHASEND_KEY", "key of the AhaSend parent account"),
            ("ahasend-account", "SANDBOX_AHASEND_ACCOUNT", "id of the AhaSend parent account"),
        ):
            parser.add_argument(f"--{name}", default=os.environ.get(variable, ""), help=f"{what} (or {variable})")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This is not a demo: PORTAL_DEMO is not set.")
        names = ("sandbox_url", "admin_key", "key_global", "key_eu", "key_ahasend", "ahasend_account")
        missing = [name for name in names if not options[name]]
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
        self.stdout.write(f"{Customer.objects.count()} customers made in {time.monotonic() - began:.0f} s.")


def _follow_the_sandbox(url: str, keys: Keys) -> None:
    """Update the connections if the sandbox's port changed since the last start."""
    admin = User.objects.filter(role=Role.ADMIN, is_active=True).first()
    for facts, key in keys.connections():
        path = facts["base_url"]
        there = Connection.objects.filter(kind=facts["kind"], base_url__regex=rf"^http://127\.0\.0\.1:\d+{path}$")
        for connection in there.exclude(base_url=url + path):
            if admin:
                connection_commands.edit_connection(
                    actor=admin, connection=connection, facts={"base_url": url + path}, api_key=key
                )


def _work_alone() -> None:
    """Send no task messages, and disable syncs to disk: data lost in a crash is created again."""
    current_app.conf.update(broker_url="memory://localhost/", broker_transport_options={})
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")


def _staff() -> Staff:
    def one(role: Role) -> User:
        person = User.objects.filter(role=role, is_active=True).order_by("pk").first()
        if person is None:
            raise CommandError(f"Nobody has the role {role}; `manage.py prepare_demo` makes the people first.")
        return person

    one(Role.CUSTOMER_SUCCESS)
    success = User.objects.filter(role=Role.CUSTOMER_SUCCESS, is_active=True).order_by("pk")
    return Staff(admin=one(Role.ADMIN), success=list(success))
