"""Queries of the keys page: the keys as last listed, the status of each secret, and open operations about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, KeySecret, Operation
from customers.models.operation_states import OPEN, OperationKind, OperationState
from customers.operations import key_secrets
from portal.access.models import User
from portal.providers import Capabilities, KeyBundle

_LABEL = re.compile(r"(?P<typed>.*) · (?P<code>op_[0-9A-F]{6})", re.DOTALL)
OF_A_KEY = (OperationKind.KEY_UPDATE, OperationKind.KEY_DELETE)
ABOUT_KEYS = (OperationKind.KEY_CREATE, *OF_A_KEY)
ADDRESSES_SHOWN = 2


def split_label(label: str) -> tuple[str, str]:
    """Return the label as typed, and the code of the operation that made the key ("" where there is none)."""
    found = _LABEL.fullmatch(label)
    return (found["typed"], found["code"]) if found else (label, "")


def joined_label(typed: str, code: str) -> str:
    return f"{typed} · {code}" if code else typed


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


@dataclass(frozen=True)
class KeysPage:
    lines: list[KeyLine]
    # Secrets that this user requested and may reveal now, newest first; their keys may not be listed yet.
    yours: list[SecretPlace]


def keys_page(account: Account, *, viewer: User, now: datetime) -> KeysPage:
    """Return the page's data. The number of queries does not depend on the number of keys."""
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
    return KeysPage(lines, [each for each in places if each.secret.kind == "yours"])


def key_line(account: Account, key_id: str, *, viewer: User, now: datetime) -> KeyLine | None:
    """Return one living key, or None."""
    key = AccountKey.objects.filter(account=account, key_id=key_id, gone_at=None).first()
    if key is None:
        return None
    secret = _secrets(account).filter(key_id=key_id).first()
    under_way = Operation.objects.filter(account=account, state__in=OPEN, kind__in=OF_A_KEY).order_by("pk")
    busy = next((each for each in under_way if each.payload.get("key_id") == key_id), None)
    return _line(key, account.connection.capabilities, secret_line(secret, viewer=viewer, now=now), busy)


def secret_of(account: Account, key_id: str, *, viewer: User, now: datetime) -> SecretPlace | None:
    """Return the status of a key's secret; None for a key that is not known here."""
    key = AccountKey.objects.filter(account=account, key_id=key_id).first()
    secret = _secrets(account).filter(key_id=key_id).first()
    if secret:
        return _place(secret, key, viewer=viewer, now=now)
    return SecretPlace(NONE, *split_label(key.label), alive=key.gone_at is None) if key else None


def _secrets(account: Account) -> QuerySet[KeySecret]:
    return KeySecret.objects.filter(account=account).select_related("holder", "operation")


def _place(secret: KeySecret, key: AccountKey | None, *, viewer: User, now: datetime) -> SecretPlace:
    label, code = split_label(key.label) if key else (requested_label(secret.operation), secret.operation.code)
    return SecretPlace(secret_line(secret, viewer=viewer, now=now), label, code, alive=not key or key.gone_at is None)


def requested_label(operation: Operation) -> str:
    """Return the label that the requester gave the key."""
    return str(operation.payload["key"]["label"])


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


def keys_are_fresh(account: Account, *, since: datetime) -> bool:
    """Return whether the keys were read after `since`, and no operation about them ended after the reading."""
    at = account.keys_read_at
    if at is None or at < since:
        return False
    ended = Operation.objects.filter(account=account, kind__in=ABOUT_KEYS, finished_at__gt=at)
    return not ended.exists()


def last_failed_key_operation(account: Account) -> Operation | None:
    """Return the newest operation about keys, when it failed: its result is shown on this page."""
    last = Operation.objects.filter(account=account, kind__in=ABOUT_KEYS).order_by("-pk").first()
    return last if last and last.state == OperationState.FAILED else None
