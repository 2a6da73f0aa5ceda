"""The list of breached passwords: which of twelve or more characters occur in leaked collections.

`breached-passwords.bin` has the first eight bytes of the SHA-256 of each, in lower case, sorted. They are the 43,940
passwords of at least twelve characters among the million most frequent of ten million leaked ones (SecLists,
"10-million-password-list-top-1000000", MIT). Hashes, because the words are offensive and nothing needs to read them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from functools import cache
from pathlib import Path

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

FILE = Path(__file__).with_name("breached-passwords.bin")
BYTES = 8  # of each hash: a good password is refused once in 10**14


class BreachedPasswordValidator:
    """Reject passwords that occur in leaked collections, whatever the case of their letters. Asks no other server."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        if is_breached(password):
            raise ValidationError(
                _("This password is in a list of leaked passwords. Choose another one."), code="password_breached"
            )

    def get_help_text(self) -> str:
        return _("A password from a list of leaked passwords is refused.")


def is_breached(password: str) -> bool:
    found = hashlib.sha256(password.lower().encode()).digest()[:BYTES]
    hashes = _hashes()
    at = bisect_left(hashes, found)
    return at < len(hashes) and hashes[at] == found


@cache
def _hashes() -> list[bytes]:
    held = FILE.read_bytes()
    return [held[at : at + BYTES] for at in range(0, len(held), BYTES)]
