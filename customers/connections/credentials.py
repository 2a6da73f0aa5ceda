"""Recognize a credential that is connected already: the same key at the same address, or at another one.

Two connections of one credential own every account twice. The keys are encrypted, so equality is decided by a keyed
hash (docs/decisions/credentials.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from urllib.parse import urlsplit

import structlog
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from customers.connections.client import client_for, config_of
from customers.models import Connection
from portal import encryption, providers
from portal.encryption import DecryptionError
from portal.providers import Provider, ProviderError, Unsupported

log = structlog.get_logger(__name__)

# A page waits this long for both account lists together; `manage.py connect` gives more.
LIST_SECONDS = 20.0


class SameCredential(Exception):
    """The credential is in use by another connection. The text is for users; `field` names the form field."""

    def __init__(self, message: str, *, field: str = "api_key") -> None:
        super().__init__(message)
        self.field = field


class _TooLong(Exception):
    pass


def normal_address(base_url: str) -> str:
    """Return one spelling for one address: host in lower case, no default port, no slash at the end."""
    parts = urlsplit(base_url.strip().rstrip("/"))
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return parts._replace(netloc=host).geturl()


def hashes_of(kind: str, base_url: str, api_key: str) -> list[str]:
    """Return the credential's keyed hash under every field key, the current key's first."""
    return encryption.keyed_hashes("credential", kind, normal_address(base_url), api_key)


def check_free(connection: Connection, api_key: str, *, seconds: float = LIST_SECONDS) -> Connection | None:
    """Refuse a credential that another connection has; `connection` carries the address and account ID to be saved.

    Return the connection that has the same key at another address and no account in common, or None. Reads both
    account lists live, for at most about `seconds`, so call it outside a transaction. Raises `SameCredential`.
    """
    fill_hashes()
    others = Connection.objects.filter(kind=connection.kind).exclude(pk=connection.pk).order_by("pk")
    found: Connection | None = None
    for other in others:
        same_key = other.credential_hash in hashes_of(other.kind, other.base_url, api_key)
        parent = connection.account_id.casefold()
        same_parent = bool(parent) and other.account_id.casefold() == parent
        if not (same_key or same_parent):
            continue
        if normal_address(other.base_url) == normal_address(connection.base_url):
            raise _refusal(other, same_key=same_key)
        _refuse_common_accounts(connection, other, until=monotonic() + seconds)
        found = other
    return found


def _refusal(other: Connection, *, same_key: bool) -> SameCredential:
    name = {"name": other.name}
    if same_key:
        return SameCredential(_("“%(name)s” already uses this key at this address. Use that connection.") % name)
    return SameCredential(
        _("“%(name)s” already uses this account ID at this address. Use that connection.") % name, field="account_id"
    )


def _refuse_common_accounts(connection: Connection, other: Connection, *, until: float) -> None:
    reading = connection.name
    try:
        ours = set(_ids(providers.client(config_of(connection, interactive=True)), until))
        reading = other.name
        common = next((each for each in _ids(client_for(other, interactive=True), until) if each in ours), None)
    except (ProviderError, Unsupported, DecryptionError) as error:
        raise SameCredential(
            _(
                "“%(other)s” uses the same key at another address. The account list of “%(name)s” could not be read "
                "to compare the two: %(why)s Nothing was saved. Try again when the provider answers."
            )
            % {"other": other.name, "name": reading, "why": error}
        ) from error
    except _TooLong:
        raise SameCredential(
            _(
                "“%(other)s” uses the same key at another address. The account lists are too long to compare them "
                "here. Nothing was saved. Use the command “manage.py connect”, which waits longer."
            )
            % {"other": other.name}
        ) from None
    if common:
        raise SameCredential(
            _(
                "“%(other)s” uses the same key at another address, and account %(id)s is in both account lists. Use "
                "that connection."
            )
            % {"other": other.name, "id": common}
        )


def _ids(provider: Provider, until: float) -> Iterator[str]:
    for row in provider.list_accounts(patience=max(0.0, until - monotonic())):
        if monotonic() > until:
            raise _TooLong
        yield row.id


def fill_hashes() -> list[Connection]:
    """Compute the hash of connections without one, oldest first; return those whose credential an older one has.

    A key that cannot be decrypted is skipped: its connection cannot be used either.
    """
    twins = []
    for connection, found in without_hash():
        unset = Connection.objects.filter(
            pk=connection.pk, credential_hash=None, api_key_sealed=connection.api_key_sealed
        )
        try:
            with transaction.atomic():
                unset.update(credential_hash=found)
        except IntegrityError:  # an older one has it, or its parent account
            twins.append(connection)
    return twins


def without_hash() -> Iterator[tuple[Connection, str]]:
    """Yield connections without a stored hash, oldest first, with the hash."""
    for connection in Connection.objects.filter(credential_hash=None).exclude(api_key_sealed="").order_by("pk"):
        try:
            key = connection.open("api_key_sealed")
        except DecryptionError:
            log.warning("connection.key_not_readable", connection=str(connection.public_id))
            continue
        hashes = hashes_of(connection.kind, connection.base_url, key)
        stored = Connection.objects.filter(credential_hash__in=hashes).values_list("credential_hash", flat=True).first()
        yield connection, stored or hashes[0]
