from __future__ import annotations

import getpass
import os
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction

from portal import audit
from portal.access.models import User
from portal.access.roles import Role


class Command(BaseCommand):
    help = "Create the first admin, or another one. The password is asked for, or read from PORTAL_ADMIN_PASSWORD."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument("--name", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        password = os.environ.get("PORTAL_ADMIN_PASSWORD") or getpass.getpass("Password: ")
        person = User(email=options["email"], name=options["name"], role=Role.ADMIN)
        try:
            validate_email(person.email)
            validate_password(password, person)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        if User.objects.filter(email=person.email).exists():
            raise CommandError(f"Someone already has the e-mail {person.email}.")
        with transaction.atomic():
            person = User.objects.create_user(person.email, password, name=person.name, role=Role.ADMIN)
            audit.record(actor=None, verb="staff.invited", obj=person, after={"role": Role.ADMIN})
        self.stdout.write(f"{person.email} can sign in as admin.")
