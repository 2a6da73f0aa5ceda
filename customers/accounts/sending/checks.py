"""Live reads with an account's own stored key, without an operation: domains, DNS, a message.

Everything runs in a web request, within ten seconds, and changes nothing at the provider but the time of a DNS check.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from customers.connections import commands as connection_commands
from customers.connections.client import client_for
from customers.models import Account
from customers.observed import accounts as observed_accounts
from customers.operations import key_secrets
from portal.commands import Command
from portal.encryption import DecryptionError
from portal.providers import Forbidden, KeyRefused, MessageReading, NotFound, ProviderError, Sending, Unauthorized
from portal.refusals import Refusal


def read_domains(*, account: Account, now: datetime) -> None:
    """Read all domains of the account and store them. Raises `Refusal`."""
    with _with_kept_key(account, now) as sending:
        found = sending.domains()
    observed_accounts.record_domains(account_id=account.pk, domains=found, now=now)


def check_dns(command: Command, *, account: Account, name: str) -> None:
    """Have the provider check the domain's records now, and store the result. Raises `Refusal`."""
    with _with_kept_key(account, command.now) as sending:
        found = sending.check_dns(name)
    with transaction.atomic():
        observed_accounts.record_domain(account_id=account.pk, domain=found, now=command.now)
        command.record(
            verb="domain.checked",
            obj=account,
            after={"domain": name, "valid": found.valid},
        )


def message_status(*, account: Account, message_id: str, now: datetime) -> MessageReading:
    """Return a message's status now. Raises `Refusal`."""
    with _with_kept_key(account, now) as sending:
        return sending.message(message_id)


@contextmanager
def _with_kept_key(account: Account, now: datetime) -> Iterator[Sending]:
    secret = key_secrets.secret_for_sending(account)
    if secret is None:
        raise Refusal(_("No API key for this account is stored."))
    provider = {"provider": account.provider_label}
    try:
        yield client_for(account.connection, interactive=True).sending(account.ref, secret.open())
        connection_commands.record_contact(account.connection, now=now)
    except (KeyRefused, Unauthorized):
        raise Refusal(
            _("%(provider)s rejected the stored key. Either the key was deleted or the account is suspended.")
            % provider
        ) from None
    except Forbidden:
        raise Refusal(
            _("The stored key is missing a required scope. Edit the key, or store one that has it.")
        ) from None
    except NotFound:
        raise Refusal(_("Not found at %(provider)s. It may have been deleted.") % provider) from None
    except (ProviderError, DecryptionError) as error:
        raise Refusal(str(error)) from None
