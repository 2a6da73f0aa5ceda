"""What a client of a provider does: the interface that every provider fulfils."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from portal.providers.key_types import ApiKey, CreatedKey, Domain, MessageReading, NewKey, TestMessage


class Provider(Protocol):
    """See the module's docstring for the rules every method keeps."""

    capabilities: Capabilities

    def clock_skew(self) -> float | None:
        """Measure by how many seconds the provider's clock is ahead of this machine's, with one cheap read. None where
        it does not say. Never raises for what the provider answers."""
        ...

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[ListedAccount]:
        """Walk the complete account list, each account once. May wait up to `patience` seconds in all for the
        provider's rate limit. Any page that fails raises (`Unreadable` where the list cannot be read to its
        end): an incomplete list must never look like a complete one."""
        ...

    def catalog(self) -> list[CatalogEntry]: ...

    def create_body(self, new: NewAccount) -> str:
        """The exact body of a create, to be stored before it is sent. Raises `Rejected` for what could never be
        proven ours or never be accepted. Sends nothing."""
        ...

    def create_account(self, new: NewAccount, once: IdempotentBody) -> Created:
        """Create one (paid) account. One POST of `once.body`, never repeated here."""
        ...

    def offerings(self, account: AccountRef) -> list[ProviderOffering]: ...

    def replace_offerings(self, account: AccountRef, offerings: list[ProviderOffering]) -> list[ProviderOffering]:
        """Overwrite the whole list; returns the list as the provider now has it."""
        ...

    def state(self, account: AccountRef) -> StateReading: ...

    def set_sending(self, account: AccountRef, *, on: bool, reason: str = "") -> None:
        """Ask for `active` (on) or `stopped_by_us` (off); read `state` afterwards. `reason` (off only) reaches the
        customer where the capabilities say so."""
        ...

    def details(self, account: AccountRef) -> Details:
        """Settings, state and counts in one read."""
        ...

    def update_settings(self, account: AccountRef, changes: Mapping[str, str | int]) -> AccountSettings:
        """Write only `changes` (fields of `AccountSettings`, at least one really different); returns them all as
        the provider now has them."""
        ...

    def keys(self, account: AccountRef) -> list[ApiKey]:
        """The account's API keys, complete."""
        ...

    def key_body(self, new: NewKey) -> str:
        """The exact body of a key's create. Raises `Rejected` as `create_body` does. Sends nothing."""
        ...

    def create_key(self, account: AccountRef, once: IdempotentBody) -> CreatedKey: ...

    def update_key(self, account: AccountRef, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
        """Write only `changes` (label, scopes, ip_allow_list: an empty list allows any address)."""
        ...

    def delete_key(self, account: AccountRef, key_id: str) -> None:
        """Raises `NotFound` when it is already gone."""
        ...

    def sending(self, account: AccountRef, secret: str) -> Sending:
        """The account's own side, with one of its keys. Costs nothing until it is used."""
        ...

    def pooled_usage(self) -> PooledUsage:
        """The current period of all accounts at once, for connections whose source is `POOLED`."""
        ...

    def delete_account(self, account: AccountRef) -> None:
        """Irreversible. Raises `NotFound` when it is already gone."""
        ...

    def sign_in_url(self, account: AccountRef) -> SignIn:
        """A one-time sign-in address, not followed. `Rejected` when the address is not one we trust."""
        ...

    def identity(self, account: AccountRef) -> Identity:
        """Never raises for what cannot be read: such a part is None."""
        ...

    def usage(self, account: AccountRef, source: UsageSource) -> Usage:
        """The current period. An answer without its usage figure is `Unreadable`; `Unauthorized` from one of
        several sources may speak of that source alone."""
        ...

    def verify(self) -> list[Check]:
        """Try what the credential can do, reads only, within `total_timeout` seconds together: "accounts",
        "catalogue", "identity" (the probe that proves an unknown create), and one per usage source."""
        ...


class Sending(Protocol):
    """What an account can do with a key of its own. The same rules as for `Provider`; `Unauthorized` and `Forbidden`
    speak of the account's key, never of our connection's."""

    def domains(self) -> list[Domain]: ...

    def domain(self, name: str) -> Domain: ...

    def domain_body(self, name: str) -> str: ...

    def add_domain(self, once: IdempotentBody) -> Domain: ...

    def check_dns(self, name: str) -> Domain:
        """Have the provider look at the records now. Safe to repeat."""
        ...

    def message_body(self, message: TestMessage) -> str: ...

    def send_message(self, once: IdempotentBody) -> Created:
        """Send one message; the id is the message's."""
        ...

    def message(self, message_id: str) -> MessageReading: ...
