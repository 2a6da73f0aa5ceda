"""Validate the base URL of a credential, and detect one that is already connected, under the same URL or another.

Two connections of one credential own every account twice. The keys are encrypted, so equality is decided by a keyed
hash (docs/decisions/credentials.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Value
from django.db.models.functions import Left, StrIndex
from django.utils.translation import gettext as _

from customers.connections.client import client_for, config_of
from customers.models import Connection, KeySecret
from portal import encryption, providers
from portal.access import second_factor
from portal.approvals.models import Approval
from portal.encryption import DecryptionError
from portal.privacy.models import SubjectRequest
from portal.providers import Provider, ProviderError, Unsupported
from portal.refusals import Refusal

log = structlog.get_logger(__name__)

# A page waits this long for both account lists together; `manage.py connect` gives more.
LIST_SECONDS = 20.0


class _TooLong(Exception):
    pass


def normal_address(base_url: str) -> str:
    """Return one spelling for one address: host in lower case, no default port, no slash at the end."""
    parts = urlsplit(base_url.strip().rstrip("/"))
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return parts._replace(netloc=host).geturl()


def check_base_url(base_url: str) -> str:
    """Return the address, normalized: https to a known provider host, or outside production the sandbox on loopback."""
    hosts = ", ".join(settings.PROVIDER_HOSTS)
    refusal = Refusal(
        _("The API URL must use https and one of these hosts: %(hosts)s.") % {"hosts": hosts}, field="base_url"
    )
    try:
        parts = urlsplit(base_url.strip().rstrip("/"))
        port = parts.port
    except ValueError:  # "http://[::1", or a port that is none
        raise refusal from None
    plain = not parts.query and not parts.fragment and parts.username is None and parts.password is None
    known = parts.scheme == "https" and parts.hostname in settings.PROVIDER_HOSTS and port in (None, 443)
    sandbox = not settings.PRODUCTION and parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not plain or not (sandbox or (known and parts.path == "")):
        raise refusal
    return normal_address(parts.geturl())


def hashes_of(kind: str, base_url: str, api_key: str) -> list[str]:
    """Return the credential's keyed hash under every field key, the current key's first."""
    return encryption.keyed_hashes("credential", kind, normal_address(base_url), api_key)


def check_free(connection: Connection, api_key: str, *, seconds: float = LIST_SECONDS) -> Connection | None:
    """Refuse a credential that another connection has; `connection` carries the address and account ID to be saved.

    Return the connection that has the same key at another address and no account in common, or None. Reads both
    account lists live, for at most about `seconds`, so call it outside a transaction. Raises `Refusal`.
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


def _refusal(other: Connection, *, same_key: bool) -> Refusal:
    name = {"name": other.name}
    if same_key:
        return Refusal(
            _("“%(name)s” already uses this key at this API URL. Use that connection.") % name, field="api_key"
        )
    return Refusal(
        _("“%(name)s” already uses this account ID at this API URL. Use that connection.") % name, field="account_id"
    )


def _refuse_common_accounts(connection: Connection, other: Connection, *, until: float) -> None:
    reading = connection.name
    try:
        ours = set(_ids(providers.client(config_of(connection, interactive=True)), until))
        reading = other.name
        common = next((each for each in _ids(client_for(other, interactive=True), until) if each in ours), None)
    except (ProviderError, Unsupported, DecryptionError) as error:
        raise Refusal(
            _(
                "“%(other)s” uses the same key at a different API URL. The account list of “%(name)s” couldn't "
                "be loaded to compare the two: %(why)s Nothing was saved. Try again when the provider is "
                "available."
            )
            % {"other": other.name, "name": reading, "why": error},
            field="api_key",
        ) from error
    except _TooLong:
        raise Refusal(
            _(
                "“%(other)s” uses the same key at a different API URL. The account lists are too long to "
                "compare here. Nothing was saved. Use the command “manage.py connect”, which allows more time."
            )
            % {"other": other.name},
            field="api_key",
        ) from None
    if common:
        raise Refusal(
            _(
                "“%(other)s” uses the same key at a different API URL, and account %(id)s is in both account "
                "lists. Use that connection."
            )
            % {"other": other.name, "id": common},
            field="api_key",
        )


def _ids(provider: Provider, until: float) -> Iterator[str]:
    for row in provider.list_accounts(patience=max(0.0, until - monotonic())):
        if monotonic() > until:
            raise _TooLong
        yield row.id


def fill_hashes() -> None:
    """Compute the hash of connections without one, oldest first. One whose credential an older one has stays without.

    A key that cannot be decrypted is skipped: its connection cannot be used either.
    """
    for connection, found in without_hash():
        unset = Connection.objects.filter(
            pk=connection.pk, credential_hash=None, api_key_sealed=connection.api_key_sealed
        )
        with suppress(IntegrityError), transaction.atomic():  # an older one has it, or its parent account
            unset.update(credential_hash=found)


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


def secrets_by_key() -> Counter[str]:
    """Return how many secrets are stored under each field key, by its ID, without decrypting any; those of second
    factors too."""
    found = second_factor.sealed_by_key()
    for model in (Connection, KeySecret, Approval, SubjectRequest):
        for column in model.SEALED_FIELDS:
            sealed = model._default_manager.order_by().exclude(**{column: ""})
            name = Left(column, StrIndex(column, Value(":")) - 1)
            found.update(dict(sealed.values_list(name).annotate(n=Count("pk"))))
    return found
