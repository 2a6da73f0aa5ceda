"""Queries of the keys page: the keys as last listed, the status of each secret, and open operations about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.labels import split_label
from customers.models import Account, AccountKey, KeySecret, Operation
from customers.models.operation_states import OPEN, OperationKind
from customers.operations import key_secrets
from portal.access.models import User
from portal.providers import Capabilities, KeyBundle

OF_A_KEY = (OperationKind.KEY_UPDATE, OperationKind.KEY_DELETE)
ABOUT_KEYS = (OperationKind.KEY_CREATE, *OF_A_KEY)
ADDRESSES_SHOWN = 2


def bundle_of(capabilities: Capabilities, scopes: Iterable[str]) -> KeyBundle | None:
    """Return the bundle that is exactly these scopes."""
    wanted = set(scopes)
    return next((each for each in capabilities.key_bundles if set(each.scopes) == wanted), None)


def family_of(scope: str) -> str:
    """Return the topic of a scope, from its first word: "smtp-credentials:read:all" -> "SMTP credentials"."""
    words = scope.partition(":")[0].replace("-", " ").capitalize()
    return re.sub(r"^(Api|Smtp)\b", lambda found: found[0].upper(), words)


@dataclass(frozen=True)
class SecretLine:
    """The status of a key's secret, for the viewer.

    `kind`: "yours" (waits for the viewer), "waits" (for another user), "shown", "lost" (not revealed in time), or
    "none" (the key was not made here). `kept` is independent: the portal stores it, encrypted, for setting up sending.
    """

    kind: str
    kept: bool = False
    row: KeySecret | None = None


NONE = SecretLine("none")


@dataclass(frozen=True)
class KeyLine:
    key: AccountKey
    label: str
    code: str
    bundle: str
    secret: SecretLine
    # Open operations about this key.
    under_way: Operation | None = None

    @property
    def more_addresses(self) -> int:
        return max(0, len(self.key.ip_allow_list) - ADDRESSES_SHOWN)


@dataclass(frozen=True)
class SecretPlace:
    """A secret with the name of its key. `alive`: the key was there when the keys were last listed."""

    secret: SecretLine
    label: str
    code: str
    alive: bool

    @property
    def row(self) -> KeySecret | None:
        return self.secret.row


def keys_page(account: Account, *, viewer: User, now: datetime) -> dict[str, list[Any]]:
    """Return the `lines` of the keys, and as `yours` the secrets that this user requested and may reveal now, newest
    first; their keys may not be listed yet. The number of queries does not depend on the number of keys."""
    keys = AccountKey.objects.filter(account=account, gone_at=None).order_by("-made_at", "-id")
    known = {each.key_id: each for each in _secrets(account)}
    under_way = list(Operation.objects.filter(account=account, state__in=OPEN).order_by("pk"))
    busy = {each.payload.get("key_id"): each for each in reversed(under_way) if each.kind in OF_A_KEY}
    capabilities = account.connection.capabilities
    lines = [
        _line(key, capabilities, secret_line(known.get(key.key_id), viewer=viewer, now=now), busy.get(key.key_id))
        for key in keys
    ]
    listed = {key.key_id: key for key in keys}
    places = [_place(each, listed.get(each.key_id), viewer=viewer, now=now) for each in known.values()]
    return {"lines": lines, "yours": [each for each in places if each.secret.kind == "yours"]}


def key_or_404(account: Account, key_id: str, *, viewer: User) -> KeyLine:
    """Return one living key."""
    key = get_object_or_404(AccountKey, account=account, key_id=key_id, gone_at=None)
    secret = _secrets(account).filter(key_id=key_id).first()
    under_way = Operation.objects.filter(account=account, state__in=OPEN, kind__in=OF_A_KEY).order_by("pk")
    busy = next((each for each in under_way if each.payload.get("key_id") == key_id), None)
    return _line(key, account.connection.capabilities, secret_line(secret, viewer=viewer, now=timezone.now()), busy)


def secret_or_404(account: Account, key_id: str, *, viewer: User, now: datetime) -> SecretPlace:
    """Return the status of a key's secret."""
    key = AccountKey.objects.filter(account=account, key_id=key_id).first()
    secret = _secrets(account).filter(key_id=key_id).first()
    if secret:
        return _place(secret, key, viewer=viewer, now=now)
    if key is None:
        raise Http404
    return SecretPlace(NONE, *split_label(key.label), alive=key.gone_at is None)


def _secrets(account: Account) -> QuerySet[KeySecret]:
    return KeySecret.objects.filter(account=account).select_related("holder", "operation")


def _place(secret: KeySecret, key: AccountKey | None, *, viewer: User, now: datetime) -> SecretPlace:
    label, code = (
        split_label(key.label) if key else (str(secret.operation.payload["key"]["label"]), secret.operation.code)
    )
    return SecretPlace(secret_line(secret, viewer=viewer, now=now), label, code, alive=not key or key.gone_at is None)


def _line(key: AccountKey, capabilities: Capabilities, secret: SecretLine, busy: Operation | None) -> KeyLine:
    label, code = split_label(key.label)
    bundle = bundle_of(capabilities, key.scopes)
    return KeyLine(key, label, code, _(bundle.label) if bundle else "", secret, busy)


def secret_line(secret: KeySecret | None, *, viewer: User, now: datetime) -> SecretLine:
    if secret is None:
        return NONE
    kept = secret.kept and bool(secret.sealed)
    if secret.shown_at is not None:
        return SecretLine("shown", kept, secret)
    if secret.sealed and secret.expires_at > now:
        return SecretLine("yours" if secret.holder_id == viewer.pk else "waits", kept, secret)
    return SecretLine("lost", kept, secret)


def kept_key(account: Account) -> KeyLine | None:
    """Return the key with which sending is set up here."""
    secret = key_secrets.secret_for_sending(account)
    if secret is None:
        return None
    key = AccountKey.objects.get(account=account, key_id=secret.key_id)
    return _line(key, account.connection.capabilities, SecretLine("kept", True, secret), None)
