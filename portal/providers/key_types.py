"""Data types of an account's API keys, sending domains and messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class NewKey:
    """API key to create for an account. `ip_allow_list` holds addresses and networks; empty = any."""

    label: str
    scopes: tuple[str, ...]
    ip_allow_list: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApiKey:
    """API key of an account as the provider lists it, without its secret."""

    id: str
    label: str
    scopes: tuple[str, ...] = ()
    ip_allow_list: tuple[str, ...] = ()
    public_key: str = ""
    created_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class CreatedKey:
    """New key with its secret, which no later call returns."""

    key: ApiKey
    secret: str = field(repr=False)
    replayed: bool = False


@dataclass(frozen=True)
class DnsRecord:
    """DNS record to publish. `in_place` is the result of the provider's last check; None = not reported."""

    type: str
    host: str
    content: str
    required: bool = True
    in_place: bool | None = None


@dataclass(frozen=True)
class Domain:
    """Sending domain of an account. `valid`: every required record was found by the last check."""

    name: str
    valid: bool
    records: tuple[DnsRecord, ...] = ()
    checked_at: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class TestMessage:
    """Test message that verifies sending from a domain."""

    __test__ = False  # not a test case, whatever its name says to a test runner

    sender: str
    recipient: str
    subject: str
    text: str


@dataclass(frozen=True)
class MessageReading:
    """Status of a message, as reported by the provider."""

    id: str
    status: str
    at: datetime | None = None
