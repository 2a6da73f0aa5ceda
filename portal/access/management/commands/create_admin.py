from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError

from portal.access import links, staff
from portal.access.forms import InviteForm
from portal.access.models import User
from portal.access.roles import Role
from portal.access.sso.queries import needs_sso
from portal.commands import Command as PortalCommand
from portal.refusals import Refusal


class Command(BaseCommand):
    help = "Create an admin and print a link for setting the password. Run it again for a new link."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument("--name", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._create(options)
        except (OperationalError, ProgrammingError) as error:  # no such table
            raise CommandError(
                f"The database is not responding or has no tables: {error}\nRun: python manage.py migrate"
            ) from None

    def _create(self, options: dict[str, Any]) -> None:
        command = PortalCommand(None)
        form = InviteForm({"email": options["email"], "name": options["name"], "role": Role.ADMIN})
        if not form.is_valid():
            raise CommandError(" ".join(f"--{name}: {' '.join(map(str, told))}" for name, told in form.errors.items()))
        person = User.objects.filter(email=form.cleaned_data["email"]).first()
        if person is None:
            try:
                person = staff.invite(command, **form.cleaned_data)
            except Refusal as refusal:
                raise CommandError(str(refusal)) from None
        elif person.role != Role.ADMIN or not person.is_active:
            raise CommandError(
                f"{person.email} belongs to a team member who is disabled or not an admin. Another admin can change "
                "that on the Team members page. Nothing was changed."
            )
        elif needs_sso(person):
            raise CommandError(
                f"{person.email} signs in with single sign-on alone. Use another email for an admin with a password. "
                "Nothing was changed."
            )
        elif person.has_joined:
            self.stdout.write(
                f"{person.email} is an admin and has a password. Nothing was changed. If the password is lost, use "
                '"Forgot your password?" on the sign-in page.'
            )
            return
        link = links.make_link(person=person, lasts=links.BY_ADMIN, now=command.now, request=None)
        self.stdout.write(
            f"{person.email} is an admin. Open this link and set a password. It works once, until "
            f"{link.expires_at:%Y-%m-%d %H:%M} UTC:\n{link.url}"
        )
