"""Lists of the API keys of many accounts: each account's list at least once a day, and at once for a bulk change.

The nightly lists leave a part of the provider's rate to what people wait for. An account whose list failed is tried
again after an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from django.db.models import F, Q, QuerySet

from customers.connections import circuit_breaker
from customers.connections.client import client_for, recorded
from customers.connections.scopes import why_no_read
from customers.models import Account, Connection
from customers.models.account import AccountState
from customers.models.breaker import readable
from customers.observed.accounts import read_keys
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.providers import CAPABILITIES, NotFound, Provider, ProviderError
from portal.queue import enqueue_on_commit

LIST_KEYS = "customers.list_keys"
LISTED_EVERY = timedelta(hours=20)
TRIED_AGAIN_AFTER = timedelta(hours=1)
# One worker lists so long or so many, before another connection has its turn.
SECONDS, AT_ONCE = 30.0, 500
KINDS_WITH_KEYS = tuple(kind for kind, can in CAPABILITIES.items() if can.keys)
Connect = Callable[[Connection], Provider]
background_client = partial(client_for, interactive=True, background=True)


def accounts_with_keys() -> QuerySet[Account]:
    """Return the accounts whose keys a provider lists for us."""
    found = Account.objects.filter(provider_kind__in=KINDS_WITH_KEYS, provider_id__isnull=False, duplicate_of=None)
    return found.exclude(state=AccountState.DELETED)


def accounts_to_list(*, now: datetime) -> QuerySet[Account]:
    """Return the accounts whose list of keys is a day old or missing, oldest first."""
    return (
        accounts_with_keys()
        .filter(
            Q(keys_read_at=None) | Q(keys_read_at__lt=now - LISTED_EVERY),
            Q(keys_tried_at=None) | Q(keys_tried_at__lt=now - TRIED_AGAIN_AFTER),
            readable("connection__"),
        )
        .order_by(F("keys_read_at").asc(nulls_first=True), "pk")
    )


def request_key_lists(*, now: datetime) -> int:
    """Enqueue one task for each connection with lists that are due; return how many."""
    due = accounts_to_list(now=now).order_by().values("connection")
    connections = [each for each in Connection.objects.filter(pk__in=due) if not why_no_read(each, "keys")]
    for connection in connections:
        enqueue_on_commit(LIST_KEYS, connection.pk)
    return len(connections)


def list_keys_of(
    connection: Connection,
    *,
    clock: Callable[[], datetime] = database_now,
    connect: Connect = background_client,
    seconds: float = SECONDS,
) -> bool:
    """Read the lists of a connection that are due until the time is up. Return whether more are due. A provider that
    does not answer ends the turn."""
    until = monotonic() + seconds
    due = accounts_to_list(now=clock()).filter(connection=connection).select_related("connection")
    for account in due[:AT_ONCE]:
        if monotonic() >= until:
            return True
        try:
            list_keys(account, now=clock(), connect=connect)
        except NotFound:
            continue  # a scan of the account list finds out why
        except (ProviderError, DecryptionError):
            return False
    return accounts_to_list(now=clock()).filter(connection=connection).exists()


def list_keys(account: Account, *, now: datetime, connect: Connect = background_client) -> None:
    """Read one account's list. `now` is the time of the request. Raises `ProviderError` and `DecryptionError`."""
    Account.objects.filter(pk=account.pk).update(keys_tried_at=now)
    with recorded() as exchanges:
        try:
            read_keys(account=account, now=now, provider=connect(account.connection))
        finally:
            circuit_breaker.record_exchanges(account.connection, exchanges=exchanges)
