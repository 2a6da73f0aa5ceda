"""Interfaces that every provider client implements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Protocol

from portal.providers.base import (
    AccountRef,
    AccountSettings,
    Capabilities,
    CatalogEntry,
    Check,
    Created,
    Details,
    IdempotentBody,
    Identity,
    ListedAccount,
    NewAccount,
    PooledUsage,
    ProviderOffering,
    SignIn,
    StateReading,
    Usage,
    UsageSource,
)
from portal.providers.errors import Unsupported
from portal.providers.key_types import ApiKey, CreatedKey, Domain, MessageReading, NewKey, TestMessage


class Provider(Protocol):
    """Client of one connection. `portal.providers.base` has the rules for every method.

    Clients inherit it. What an optional method does here holds for every provider without that ability: it raises
    `Unsupported`.
    """

    capabilities: Capabilities

    @property
    def seconds_waited(self) -> float:
        """Seconds that all calls of this client together waited for the rate limit, where it is measured."""
        return 0.0

    def clock_skew(self) -> float | None:
        """Return the seconds the provider's clock is ahead of this machine's, with one cheap read; None if unknown.
        Never raises for an answer of the provider."""
        ...

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[ListedAccount]:
        """Yield every account of the account list once. May wait up to `patience` seconds in all for the provider's
        rate limit. Raises if any page fails (`Unreadable` if the list cannot be read to its end): an incomplete list
        must never look complete."""
        ...

    def catalog(self) -> list[CatalogEntry]:
        raise _lacks(self, "offering catalog")

    def create_body(self, new: NewAccount) -> str:
        """Return the exact body of a create, to be stored before it is sent. Raises `Rejected` if it could never be
        accepted, or the account never be identified. Sends nothing."""
        ...

    def create_account(self, new: NewAccount, once: IdempotentBody) -> Created:
        """Create one (paid) account with one POST of `once.body`, never retried here."""
        ...

    def offerings(self, account: AccountRef) -> list[ProviderOffering]:
        raise _lacks(self, "offerings")

    def replace_offerings(self, account: AccountRef, offerings: list[ProviderOffering]) -> list[ProviderOffering]:
        """Overwrite the whole list; return the provider's new list."""
        raise _lacks(self, "offerings")

    def state(self, account: AccountRef) -> StateReading: ...

    def set_sending(self, account: AccountRef, *, on: bool, reason: str = "") -> None:
        """Request `active` (on) or `stopped_by_us` (off); read `state` afterwards. `reason` (off only) is shown to the
        customer if the capabilities say so."""
        ...

    def details(self, account: AccountRef) -> Details:
        """Return settings, state and counts in one read."""
        raise _lacks(self, "account settings")

    def update_settings(self, account: AccountRef, changes: Mapping[str, str | int]) -> AccountSettings:
        """Write only `changes` (fields of `AccountSettings`, at least one different); return the provider's new
        settings."""
        raise _lacks(self, "account settings")

    def keys(self, account: AccountRef) -> list[ApiKey]:
        """Return all API keys of the account."""
        raise _lacks(self, "API keys of accounts")

    def key_body(self, new: NewKey) -> str:
        """Return the exact body of a key create. Raises `Rejected` as `create_body` does. Sends nothing."""
        raise _lacks(self, "API keys of accounts")

    def create_key(self, account: AccountRef, once: IdempotentBody) -> CreatedKey:
        raise _lacks(self, "API keys of accounts")

    def update_key(self, account: AccountRef, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
        """Write only `changes` (label, scopes, ip_allow_list: an empty list allows any address)."""
        raise _lacks(self, "API keys of accounts")

    def delete_key(self, account: AccountRef, key_id: str) -> None:
        """Delete the key. Raises `NotFound` if it does not exist."""
        raise _lacks(self, "API keys of accounts")

    def sending(self, account: AccountRef, secret: str) -> Sending:
        """Return a client that uses the account's own key. Sends nothing until it is used."""
        raise _lacks(self, "sending setup")

    def pooled_usage(self) -> PooledUsage:
        """Return the current period of all accounts at once, for connections whose source is `POOLED`."""
        raise _lacks(self, "pooled usage")

    def delete_account(self, account: AccountRef) -> None:
        """Delete the account irreversibly. Raises `NotFound` if it does not exist."""
        ...

    def sign_in_url(self, account: AccountRef) -> SignIn:
        """Return a one-time sign-in URL without following it. Raises `Rejected` if its host is not trusted."""
        raise _lacks(self, "sign-in as an account")

    def identity(self, account: AccountRef) -> Identity:
        """Return identifying data; a part that cannot be read is None."""
        ...

    def usage(self, account: AccountRef, source: UsageSource, *, seconds: float | None = None) -> Usage:
        """Return the current period. Raises `Unreadable` if the answer has no usage figure; `Unauthorized` from one of
        several sources may concern only that source. With `seconds` the read takes no longer and is not retried."""
        ...

    def statistics(self, account: AccountRef, first: date, last: date) -> dict[date, int]:
        """Return the requests of each day from `first` to `last` (inclusive), in one read.

        The days are those of the account's own time zone, which no read returns. A day that the provider did not
        return is missing here: its count is unknown, never zero. Statistics lag, are revised later and are not the
        credits that are charged; whether they include subusers is not established. Raises `Unreadable` if a day or a
        count is not valid, or a day is outside the range; `ValueError` if the range is reversed or too long
        (`portal.providers.base.STATISTICS_DAYS`).
        """
        raise _lacks(self, "statistics")

    def verify(self) -> list[Check]:
        """Check the credential within `total_timeout` seconds in total, without changing anything: "accounts", the
        provider's scopes or reads, and one result per usage source."""
        ...


def _lacks(provider: Provider, what: str) -> Unsupported:
    return Unsupported(f"{provider.capabilities.label} doesn't support {what}.")


class Sending(Protocol):
    """Client with an account's own key. The rules of `Provider` apply; `Unauthorized` and `Forbidden` concern the
    account's key, never the connection's."""

    def domains(self) -> list[Domain]: ...

    def domain(self, name: str) -> Domain: ...

    def domain_body(self, name: str) -> str: ...

    def add_domain(self, once: IdempotentBody) -> Domain: ...

    def check_dns(self, name: str) -> Domain:
        """Request a check of the DNS records now. Safe to repeat."""
        ...

    def message_body(self, message: TestMessage) -> str: ...

    def send_message(self, once: IdempotentBody) -> Created:
        """Send one message; the returned ID is the message's."""
        ...

    def message(self, message_id: str) -> MessageReading: ...
