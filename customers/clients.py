"""The provider client of a connection. Secrets are opened here and nowhere else. Clients are kept per revision: a
client remembers the rate limits it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from customers.models import Connection
from portal import providers

INTERACTIVE_SECONDS = 10.0
_exchanges: ContextVar[list[providers.Evidence] | None] = ContextVar("exchanges", default=None)
_clients: dict[tuple[UUID, int, bool], providers.Provider] = {}
_lock = Lock()


def client_for(connection: Connection, *, interactive: bool = False) -> providers.Provider:
    """A client for `connection`; `interactive` gives each call ten seconds in all, for use in a web request.

    Raises `vault.CannotOpen` when the stored key does not open.
    """
    key = (connection.public_id, connection.revision, interactive)
    with _lock:
        if key not in _clients:
            for stale in [each for each in _clients if each[0] == key[0] and each[1] < key[1]]:
                del _clients[stale]
            _clients[key] = providers.client(config_of(connection, interactive=interactive), on_exchange=_note)
        return _clients[key]


@contextmanager
def recorded() -> Iterator[list[providers.Evidence]]:
    """Collect the evidence of every exchange made inside the block, by this thread, redacted already."""
    exchanges: list[providers.Evidence] = []
    token = _exchanges.set(exchanges)
    try:
        yield exchanges
    finally:
        _exchanges.reset(token)


def _note(evidence: providers.Evidence) -> None:
    exchanges = _exchanges.get()
    if exchanges is not None:
        exchanges.append(evidence)


def config_of(connection: Connection, *, interactive: bool = False) -> providers.ConnectionConfig:
    host = urlsplit(connection.base_url).hostname or ""
    return providers.ConnectionConfig(
        kind=connection.kind,
        base_url=connection.base_url,
        api_key=connection.open("api_key_sealed"),
        v2_auth=connection.v2_auth,
        v2_username=connection.v2_username,
        v2_password=connection.open("v2_password_sealed"),
        account_id=connection.account_id,
        sign_in_hosts=("sendgrid.com",) if settings.PRODUCTION else ("sendgrid.com", host),
        connect_timeout=3.0 if interactive else 5.0,
        read_timeout=8.0 if interactive else 30.0,
        total_timeout=INTERACTIVE_SECONDS if interactive else 45.0,
    )


Connect = Callable[[Connection], providers.Provider]
