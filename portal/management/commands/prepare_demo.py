"""Command that prepares the demo's database, users and customers in one process, so that a later start is quick."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from portal.access.models import User
from portal.approvals.kinds import ApprovalKind
from portal.approvals.models import ApprovalRule
from portal.demo.run import COLLEAGUES, LOGINS


class Command(BaseCommand):
    help = "Migrate the database and create missing demo data. Requires PORTAL_DEMO=1. Run by `make run`."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This command requires PORTAL_DEMO=1.")
        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        for role, (email, name) in [*LOGINS.items(), *COLLEAGUES]:
            if not User.objects.filter(email=email).exists():  # a role or name changed in the demo stays changed
                User.objects.create_user(email, os.environ["DEMO_PASSWORD"], name=name, role=role)
        if not ApprovalRule.objects.exists():
            now = timezone.now()
            for kind in (ApprovalKind.DELETE, ApprovalKind.BULK):
                ApprovalRule.objects.create(kind=kind, is_on=True, on_since=now, changed_at=now)
        if os.environ.get("DEMO_SEED", "1") != "0":
            call_command("seed_demo")  # reads the sandbox's address from the environment
