"""What the keys page reads: the keys as last listed, where each secret is, and what is under way about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from customers.models import Account, AccountKey, KeySecret, Operation
from customers.states import OPEN, OperationKind, OperationState
from portal.access.models import User
from portal.providers import Capabilities, KeyBundle

_LABEL = re.compile(r"(?P<typed>.*) · (?P<code>op_[0-9A-F]{6})", re.DOTALL)
OF_A_KEY = (OperationKind.KEY_UPDATE, OperationKind.KEY_DELETE)


def split_label(label: str) -> tuple[str, str]:
    """What people typed, and the code of the operation that made the key ("" where there is none)."""
    found = _LABEL.fullmatch(label)
    return (found["typed"], found["code"]) if found else (label, "")


def joined_label(typed: str, code: str) -> str:
    return f"{typed} · {code}" if code else typed


def bundle_of(capabilities: Capabilities, scopes: Iterable[str]) -> KeyBundle | None:
    """The bundle that is exactly these scopes."""
    wanted = set(scopes)
    return next((each for each in capabilities.key_bundles if set(each.scopes) == wanted), None)


def family_of(scope: str) -> str:
    """What a scope is about, from its first word: "smtp-credentials:read:all" -> "Smtp credentials"."""
    return scope.partition(":")[0].replace("-", " ").capitalize()


@dataclass(frozen=True)
class SecretLine:
    """Where the secret of a key is, for the person who looks.

    `kind`: "yours" (waits for this person), "waits" (for another one), "shown", "lost" (not fetched in time), or "none"
    (the key was not made here). `kept` comes on top: the portal has it, encrypted, for setting up sending.
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
    # What is asked and not finished about this key.
    under_way: Operation | None = None


@dataclass(frozen=True)
class KeysPage:
    lines: list[KeyLine]
    # Secrets of keys that this person asked for and may look at now, newest first.
    yours: list[KeyLine]
    # A key that was asked for and is not made yet.
    making: Operation | None


def keys_page(account: Account, *, viewer: User, now: datetime) -> KeysPage:
    """The number of queries does not depend on the number of keys."""
    keys = AccountKey.objects.filter(account=account, gone_at=None).order_by("-made_at", "-id")
    secrets = {each.key_id: each for each in KeySecret.objects.filter(account=account).select_related("holder")}
    under_way = list(Operation.objects.filter(account=account, state__in=OPEN).order_by("pk"))
    busy = {each.payload.get("key_id"): each for each in reversed(under_way) if each.kind in OF_A_KEY}
    capabilities = account.connection.capabilities
    lines = [
        _line(key, capabilities, secret_line(secrets.get(key.key_id), viewer=viewer, now=now), busy.get(key.key_id))
        for key in keys
    ]
    return KeysPage(
        lines=lines,
        yours=[each for each in lines if each.secret.kind == "yours"],
        making=next((each for each in under_way if each.kind == OperationKind.KEY_CREATE), None),
    )


def key_line(account: Account, key_id: str, *, viewer: User, now: datetime) -> KeyLine | None:
    """One living key, or None."""
    key = AccountKey.objects.filter(account=account, key_id=key_id, gone_at=None).first()
    if key is None:
        return None
    secret = KeySecret.objects.filter(account=account, key_id=key_id).select_related("holder").first()
    under_way = Operation.objects.filter(account=account, state__in=OPEN, kind__in=OF_A_KEY).order_by("pk")
    busy = next((each for each in under_way if each.payload.get("key_id") == key_id), None)
    return _line(key, account.connection.capabilities, secret_line(secret, viewer=viewer, now=now), busy)


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
    """The newest living key whose secret is kept: with it sending is set up."""
    kept = KeySecret.objects.filter(account=account, kept=True).exclude(sealed="").select_related("holder")
    alive = {
        key.key_id: key
        for key in AccountKey.objects.filter(account=account, gone_at=None, key_id__in=kept.values("key_id"))
    }
    for secret in kept:
        if key := alive.get(secret.key_id):
            return _line(key, account.connection.capabilities, SecretLine("kept", True, secret), None)
    return None


def last_failed(account: Account) -> Operation | None:
    """The newest operation about keys, when it failed: people come back to this page to see what became of it."""
    about_keys = (OperationKind.KEY_CREATE, *OF_A_KEY)
    last = Operation.objects.filter(account=account, kind__in=about_keys).order_by("-pk").first()
    return last if last and last.state == OperationState.FAILED else None
