from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.access import second_factor
from portal.access.models import User
from portal.commands import Command as PortalCommand


class Command(BaseCommand):
    help = (
        "Remove the second factors of a team member who lost theirs, when no other admin can do it on the page. All "
        "admins are told. They set up a new one after the next sign-in."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--email", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        person = User.objects.filter(email=options["email"]).first()
        if person is None:
            raise CommandError(f"No team member has the email {options['email']}.")
        second_factor.reset(PortalCommand(None), person=person)
        self.stdout.write(f"{person.email} has no second factor any more, and is signed out everywhere.")
