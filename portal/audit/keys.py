"""Keys of the audit log: AUDIT_KEY signs, and those of AUDIT_KEY_FALLBACKS, the newest first, still verify.

A key has an ID, derived from it, so that a signature tells under which key it was made. Whoever knows a former key
can't use it to sign something new: once a newer key has signed in the chain, none before it is accepted.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from portal.secret_files import UNUSED

# IDs of the keys that signed what an event ordered, by event.
Signers = dict[int, set[str]]


@lru_cache(maxsize=4)
def _keyring(keys: tuple[str, ...]) -> dict[str, bytes]:
    return {_id(key.encode()): key.encode() for key in keys}


def _id(key: bytes) -> str:
    return hmac.digest(key, b"audit key ID", "sha256").hex()[:12]


def keyring() -> dict[str, bytes]:
    """Return the keys by ID, the current one first. Raises `ImproperlyConfigured` in a process without."""
    if settings.AUDIT_KEY == UNUSED:
        raise ImproperlyConfigured(
            "This process has no AUDIT_KEY, so it can neither sign nor verify the audit log or closed months."
        )
    return _keyring((settings.AUDIT_KEY, *settings.AUDIT_KEY_FALLBACKS))


def signing_key_id() -> str:
    return next(iter(keyring()))


def sign(message: bytes, *, key_id: str = "") -> str:
    """Return the HMAC-SHA256 in hex, by default under the current key. An unknown key signs nothing: it returns ""."""
    key = keyring().get(key_id or signing_key_id())
    return hmac.digest(key, message, "sha256").hex() if key else ""


def is_signed(signature: str, message: bytes, *, key_id: str) -> bool:
    """Return whether a signature was made with the named key. An unknown key signed nothing, not even ""."""
    expected = sign(message, key_id=key_id)
    return bool(expected) and hmac.compare_digest(signature.encode(), expected.encode())


def signatures(message: bytes) -> list[str]:
    """Return the HMAC-SHA256 under every key, the current one's first, for signatures that are stored without an ID."""
    return [sign(message, key_id=key_id) for key_id in keyring()]
