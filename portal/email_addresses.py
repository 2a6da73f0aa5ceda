"""Comparison of email addresses and domain names as mail systems do it."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from functools import lru_cache

import idna


@lru_cache(maxsize=10_000)  # account lists are compared pair by pair, and most have the same few domains
def domain_key(domain: str) -> str:
    """Return the form of `domain` that is equal for every spelling of it: A-labels, lower case (IDNA2008, UTS 46).

    A name that is no valid domain is lower-cased and otherwise left as it is. Never raises.
    """
    plain = unicodedata.normalize("NFC", domain).strip().rstrip(".").lower()
    try:
        return idna.encode(plain, uts46=True).decode("ascii").lower()
    except UnicodeError:  # `idna.IDNAError` is one
        return plain


def mailbox_key(address: str) -> str:
    """Return the form of `address` that is equal for every spelling of the same mailbox; "" for no address.

    Local parts are compared in lower case, which all known providers do. `str.casefold` would take `straße` and
    `strasse` for one name.
    """
    local, at, domain = address.strip().rpartition("@")
    return f"{unicodedata.normalize('NFC', local).lower()}{at}{domain_key(domain)}"


def same_mailbox(one: str, other: str) -> bool:
    """Return whether two addresses lead to the same mailbox. An empty address equals none."""
    return bool(one.strip()) and mailbox_key(one) == mailbox_key(other)


def spellings(address: str) -> list[str]:
    """Return `address` as given, and with its domain in A-labels and in Unicode: the forms that may be stored."""
    local, at, domain = address.strip().rpartition("@")
    forms = {domain, domain_key(domain)}
    with suppress(UnicodeError):  # an invalid domain has no other spelling
        forms.add(idna.decode(domain_key(domain)))
    return sorted(f"{local}{at}{form}" for form in forms)
