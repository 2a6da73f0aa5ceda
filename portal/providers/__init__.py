"""Clients of email providers. `client(config)` returns a `Provider`; `base` and `provider` define the contract."""

from __future__ import annotations

from collections.abc import Callable

from portal.providers.ahasend.capabilities import AHASEND
from portal.providers.ahasend.client import AhaSend
from portal.providers.ahasend.payloads import canonical_allow_list
from portal.providers.sendgrid.capabilities import SENDGRID
from portal.providers.sendgrid.client import SendGrid

from .base import (
    AccountRef,
    AccountSettings,
    Capabilities,
    CatalogEntry,
    Check,
    ConnectionConfig,
    Created,
    Details,
    IdempotentBody,
    Identity,
    KeyBundle,
    ListedAccount,
    NewAccount,
    PooledUsage,
    Profile,
    ProviderOffering,
    ReportedState,
    Scope,
    Share,
    SignIn,
    StateReading,
    Usage,
    UsageSource,
)
from .errors import (
    Evidence,
    FieldError,
    Forbidden,
    InProgress,
    KeyRefused,
    KeyReused,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreadable,
    Unsupported,
)
from .key_types import ApiKey, CreatedKey, DnsRecord, Domain, MessageReading, NewKey, TestMessage
from .provider import Provider, Sending
from .rate_limit import Pace, Pacing

__all__ = [
    "CAPABILITIES",
    "AccountRef",
    "AccountSettings",
    "ApiKey",
    "Capabilities",
    "CatalogEntry",
    "Check",
    "ConnectionConfig",
    "Created",
    "CreatedKey",
    "Details",
    "DnsRecord",
    "Domain",
    "Evidence",
    "FieldError",
    "Forbidden",
    "IdempotentBody",
    "Identity",
    "InProgress",
    "KeyBundle",
    "KeyRefused",
    "KeyReused",
    "ListedAccount",
    "MessageReading",
    "NewAccount",
    "NewKey",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Pace",
    "Pacing",
    "PooledUsage",
    "Profile",
    "Provider",
    "ProviderError",
    "ProviderOffering",
    "RateLimited",
    "Rejected",
    "ReportedState",
    "Scope",
    "Sending",
    "Share",
    "SignIn",
    "StateReading",
    "TestMessage",
    "Unauthorized",
    "Unreadable",
    "Unsupported",
    "Usage",
    "UsageSource",
    "canonical_allow_list",
    "client",
]

CAPABILITIES: dict[str, Capabilities] = {SENDGRID.kind: SENDGRID, AHASEND.kind: AHASEND}

_CLIENTS: dict[str, Callable[..., Provider]] = {SENDGRID.kind: SendGrid, AHASEND.kind: AhaSend}


def client(
    config: ConnectionConfig,
    *,
    on_exchange: Callable[[Evidence], None] | None = None,
    pacer: Pacing | None = None,
) -> Provider:
    """Return a client for one connection. Sends nothing until it is used; safe to share between threads.

    `on_exchange` is called once for each HTTP exchange, whatever its outcome, in the calling thread, before the method
    returns or raises. A call that the rate limiter held back is no exchange. `pacer` shares the provider's rate limit
    with other clients; without one, a client only follows the limits it receives itself. Raises `Unsupported` for an
    unknown kind or a base URL that is not https.
    """
    if config.kind not in _CLIENTS:
        raise Unsupported(f"Unknown provider kind: {config.kind!r}.")
    return _CLIENTS[config.kind](config, on_exchange=on_exchange, pacer=pacer)
