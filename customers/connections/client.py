"""The provider client of a connection, with its decrypted credential. Clients are cached per revision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from threading import Lock
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from customers.connections import rate_limit
from customers.models import Connection
from portal import metrics, providers

INTERACTIVE_SECONDS = 10.0
_exchanges: ContextVar[list[providers.Evidence] | None] = ContextVar("exchanges", default=None)
_clients: dict[tuple[UUID, int, bool, bool], providers.Provider] = {}
_lock = Lock()


def client_for(connection: Connection, *, interactive: bool = False, background: bool = False) -> providers.Provider:
    """Return a client for `connection`; `interactive` gives each call ten seconds in all, for use in a web request;
    `background` leaves a part of the provider's rate to interactive requests.

    Raises `DecryptionError` when the stored key can't be decrypted.
    """
    key = (connection.public_id, connection.revision, interactive, background)
    with _lock:
        if key not in _clients:
            for stale in [each for each in _clients if each[0] == key[0] and each[1] < key[1]]:
                del _clients[stale]
            _clients[key] = providers.client(
                config_of(connection, interactive=interactive),
                on_exchange=_note,
                pacer=rate_limit.pacer_of(connection, background=background),
            )
        return _clients[key]


def background_client(connection: Connection) -> providers.Provider:
    """Return a client for work that no user waits for. Raises as `client_for` does."""
    return client_for(connection, background=True)


def trial_client(connection: Connection) -> providers.Provider:
    """Return a client that does not repeat a failed read, for a trial. Raises as `client_for` does."""
    config = replace(config_of(connection, interactive=True), repeat_reads=False)
    return providers.client(config, on_exchange=_note, pacer=rate_limit.pacer_of(connection))


@contextmanager
def recorded() -> Iterator[list[providers.Evidence]]:
    """Collect the evidence of every exchange made inside the block, by this thread, redacted already."""
    exchanges: list[providers.Evidence] = []
    around = _exchanges.get()
    token = _exchanges.set(exchanges)
    try:
        yield exchanges
    finally:
        _exchanges.reset(token)
        if around is not None:
            around += exchanges


def _note(evidence: providers.Evidence) -> None:
    metrics.count_provider_call(
        kind=evidence.kind,
        endpoint=evidence.endpoint,
        status=evidence.status,
        failure=evidence.failure,
        seconds=evidence.duration_ms / 1000,
    )
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
        sign_in_hosts=connection.capabilities.sign_in_hosts + (() if settings.PRODUCTION else (host,)),
        connect_timeout=3.0 if interactive else 5.0,
        read_timeout=8.0 if interactive else 30.0,
        total_timeout=INTERACTIVE_SECONDS if interactive else 45.0,
    )


Connect = Callable[[Connection], providers.Provider]
