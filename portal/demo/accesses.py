"""Accesses to customers' accounts and data in the demo: sign-ins as a customer, a revealed secret, and exports."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest

from customers.accounts.sign_in import sign_in_link
from customers.models import Account
from customers.operations import key_secrets
from portal.access.models import User
from portal.commands import Command
from portal.demo.clock import DemoClock

# Of a block for documentation.
ADDRESSES = ("192.0.2.14", "192.0.2.31")
SIGN_INS = (
    "They can't find the suppression list. Shown on the phone.",
    "Checked why the campaign of Tuesday was throttled.",
)


def from_the_office(command: Command) -> Command:
    """Return the command as one of a request from the office's network, so that its events have an address."""
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = ADDRESSES[command.person.pk % len(ADDRESSES)]
    return replace(command, request=request)


def sign_in_as(command: Command, account: Account) -> None:
    sign_in_link(from_the_office(command), account=account)


def reveal(command: Command, account: Account, key_id: str) -> None:
    """Reveal the secret of a key that the user requested a moment ago."""
    key_secrets.reveal_once(from_the_office(command), account=account, key_id=key_id)


def export_lists(stage: DemoClock, user: User) -> None:
    """Record two exports. Their files are sent to nobody."""
    day = f"{stage.now():%Y-%m-%d}"
    for verb, file, filters in (
        ("customers.exported", f"customers-{day}.csv", ["View: Over 80%"]),
        ("drift.exported", f"drift-{day}.csv", ["No filters"]),
    ):
        command = from_the_office(Command(user, stage.now()))
        command.record(verb=verb, obj=None, after={"file": file, "filters": filters})
