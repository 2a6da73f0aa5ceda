"""Encryption of stored secrets: AES-256-GCM from `cryptography`, with a key ID, bound to row and field.

`FIELD_KEYS` in the environment is "id:base64 of 32 bytes", comma-separated. The first key encrypts, all of them
decrypt, so a key is rotated by putting the new one first and running `manage.py rotate_field_keys`. The context
("customers.connection:<uuid>:api_key") is authenticated: a value copied to another row cannot be decrypted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class DecryptionError(Exception):
    """A value cannot be decrypted: key missing, value altered, or moved to another row."""


HASH_INFO = b"postkeeper keyed hash v1"


@lru_cache(maxsize=4)
def _raw_keys(configured: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for part in configured.split(","):
        name, _, encoded = part.strip().partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raw = b""
        if not name or len(raw) != 32:
            raise ImproperlyConfigured(
                'FIELD_KEYS contains an entry that is not "id:base64 of 32 bytes". Generate one with: python '
                "-c 'import base64,os;print(\"k1:\"+base64.b64encode(os.urandom(32)).decode())'"
            )
        keys[name] = raw
    return keys


@lru_cache(maxsize=4)
def _keys(configured: str) -> dict[str, AESGCM]:
    return {name: AESGCM(raw) for name, raw in _raw_keys(configured).items()}


@lru_cache(maxsize=4)
def _hash_keys(configured: str) -> dict[str, bytes]:
    """Derive a hash key from each encryption key (HKDF), so that neither can replace the other."""
    return {
        name: HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=HASH_INFO).derive(raw)
        for name, raw in _raw_keys(configured).items()
    }


def check_keys() -> None:
    """Raise `ImproperlyConfigured` if FIELD_KEYS cannot be used."""
    _keys(settings.FIELD_KEYS)


def key_ids() -> list[str]:
    """Return the IDs of FIELD_KEYS, the one that encrypts first."""
    return list(_keys(settings.FIELD_KEYS))


def current_key_id() -> str:
    return key_ids()[0]


def key_id(sealed: str) -> str:
    return sealed.partition(":")[0]


def encrypt(text: str, *, context: str) -> str:
    """Encrypt `text` with the first key. "" stays "" (no secret)."""
    if not text:
        return ""
    name, cipher = next(iter(_keys(settings.FIELD_KEYS).items()))
    nonce = os.urandom(12)
    sealed = nonce + cipher.encrypt(nonce, text.encode(), context.encode())
    return f"{name}:{base64.b64encode(sealed).decode()}"


def decrypt(token: str, *, context: str) -> str:
    """Decrypt a result of `encrypt` with the same `context`. Raises `DecryptionError`."""
    if not token:
        return ""
    name, _, encoded = token.partition(":")
    cipher = _keys(settings.FIELD_KEYS).get(name)
    if cipher is None:
        raise DecryptionError(f'The key "{name}" is missing from FIELD_KEYS.')
    try:
        sealed = base64.b64decode(encoded, validate=True)
        return cipher.decrypt(sealed[:12], sealed[12:], context.encode()).decode()
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise DecryptionError(
            "A stored secret can't be decrypted. It was altered or belongs to another row."
        ) from error


def keyed_hashes(*parts: str) -> list[str]:
    """Return the HMAC-SHA256 of `parts` under every key of FIELD_KEYS as "id:hex", the current key's first.

    Equal parts have equal hashes; without the key a hash cannot be guessed by trying values. Store the first, compare
    with all: rows hashed before a key was replaced have an older key's hash.
    """
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return [
        f"{name}:{hmac.new(key, message, hashlib.sha256).hexdigest()}"
        for name, key in _hash_keys(settings.FIELD_KEYS).items()
    ]
