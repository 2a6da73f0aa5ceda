"""Live reads with an account's own stored key, without an operation: domains, DNS, a message.

Everything runs in a web request, within ten seconds, and changes nothing at the provider but the time of a DNS check.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from customers.connections import commands as connection_commands
from customers.connections.client import client_for
from customers.models import Account
from customers.observed import accounts as observed_accounts
from customers.operations import key_secrets
from portal import audit
from portal.access.models import User
from portal.encryption import DecryptionError
from portal.providers import Forbidden, KeyRefused, MessageReading, NotFound, ProviderError, Sending, Unauthorized


class UnableToLook(Exception):
    """The reason why there is no answer, as a sentence for users. Stored values stay as they were."""


def read_domains(*, account: Account, now: datetime) -> None:
    """Read all domains of the account and store them. Raises `UnableToLook`."""
    with _with_kept_key(account, now) as sending:
        found = sending.domains()
    observed_accounts.record_domains(account_id=account.pk, domains=found, now=now)


def check_dns(*, actor: User, account: Account, name: str, now: datetime, request: HttpRequest | None = None) -> None:
    """Have the provider check the domain's records now, and store the result. Raises `UnableToLook`."""
    with _with_kept_key(account, now) as sending:
        found = sending.check_dns(name)
    with transaction.atomic():
        observed_accounts.record_domain(account_id=account.pk, domain=found, now=now)
        audit.record(
            actor=actor, verb="domain.checked", obj=account, customer=account.customer, account=account,
            after={"domain": name, "valid": found.valid}, request=request,
        )  # fmt: skip


def message_status(*, account: Account, message_id: str, now: datetime) -> MessageReading:
    """Return a message's status now. Raises `UnableToLook`."""
    with _with_kept_key(account, now) as sending:
        return sending.message(message_id)


@contextmanager
def _with_kept_key(account: Account, now: datetime) -> Iterator[Sending]:
    secret = key_secrets.secret_for_sending(account)
    if secret is None:
        raise UnableToLook(_("No key of this account is kept here."))
    provider = {"provider": account.provider_label}
    try:
        yield client_for(account.connection, interactive=True).sending(account.ref, secret.open())
        connection_commands.record_contact(account.connection, now=now)
    except (KeyRefused, Unauthorized):
        raise UnableToLook(
            _("%(provider)s refused the kept key: it was deleted, or the account is suspended there.") % provider
        ) from None
    except Forbidden:
        raise UnableToLook(_("The kept key may not do this. Edit the key, or keep one that may.")) from None
    except NotFound:
        raise UnableToLook(_("%(provider)s does not know it any more.") % provider) from None
    except (ProviderError, DecryptionError) as error:
        raise UnableToLook(str(error)) from None
