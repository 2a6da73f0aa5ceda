"""What is known of an account's API keys, sending domains and messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class NewKey:
    """An API key to be made for an account. `ip_allow_list` holds addresses and networks; empty = any."""

    label: str
    scopes: tuple[str, ...]
    ip_allow_list: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApiKey:
    """An account's API key as the provider lists it. The secret is never in it."""

    id: str
    label: str
    scopes: tuple[str, ...] = ()
    ip_allow_list: tuple[str, ...] = ()
    public_key: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class CreatedKey:
    """A new key with its secret, which no later call gives again."""

    key: ApiKey
    secret: str = field(repr=False)
    replayed: bool = False


@dataclass(frozen=True)
class DnsRecord:
    """One record the customer has to publish. `in_place` is what the provider's last check found; None = it did
    not say."""

    type: str
    host: str
    content: str
    required: bool = True
    in_place: bool | None = None


@dataclass(frozen=True)
class Domain:
    """A sending domain of an account. `valid`: every required record was found by the last check."""

    name: str
    valid: bool
    records: tuple[DnsRecord, ...] = ()
    checked_at: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class TestMessage:
    """One message that proves a domain sends."""

    __test__ = False  # not a test case, whatever its name says to a test runner

    sender: str
    recipient: str
    subject: str
    text: str


@dataclass(frozen=True)
class MessageReading:
    """Where a message stands, in the provider's word."""

    id: str
    status: str
    at: datetime | None = None
