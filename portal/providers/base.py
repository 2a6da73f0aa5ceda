"""The contract between the portal and a provider of e-mail sending accounts.

How a provider is used:

1. `portal.providers.client(config)` gives a `Provider` for one connection. Configuration is handed in; a
   provider reads no settings, no database and no environment.
2. Whoever asks for a change looks at `provider.capabilities` first and never at the provider's name.
3. Reads may be repeated. `create_account`, `replace_offerings`, `set_sending`, `delete_account` and
   `sign_in_url` send *exactly one* request that changes something and never retry it themselves.
4. Every method returns parsed values or raises one of `portal.providers.errors`. No other exception leaves
   this package for anything a provider can answer.
5. Values of a provider that we do not know stay visible: `AccountState.UNKNOWN` with the provider's word in
   `raw`, never an exception, never a guess.

To add a provider: write `portal/providers/<kind>.py` with a class that fulfils `Provider`, add its
`Capabilities` and its constructor to `portal/providers/__init__.py`, and run
`tests/providers/test_contract.py` over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol


class AccountState(StrEnum):
    """One vocabulary over all providers. Providers never return `pending` and `deleted`: they are the
    portal's own."""

    PENDING = "pending"
    ACTIVE = "active"
    STOPPED_BY_US = "stopped_by_us"
    STOPPED_BY_PROVIDER = "stopped_by_provider"
    BANNED = "banned"
    INDETERMINATE = "indeterminate"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class StateReading:
    """An account's state as the provider gave it: our word and theirs (`raw`)."""

    state: AccountState
    raw: str


@dataclass(frozen=True)
class Profile:
    """Who the account is for. Only `email` is required by us: it proves identity later. "" = not sent."""

    email: str
    first_name: str = ""
    last_name: str = ""
    company_name: str = ""
    company_website: str = ""
    phone: str = ""
    timezone: str = ""


@dataclass(frozen=True, order=True)
class Offering:
    """One line of an account's list. `type` is "package" or "addon" (any other word is kept as it came)."""

    name: str
    type: str
    quantity: int = 1


@dataclass(frozen=True)
class CatalogEntry:
    """What a connection may sell. `entitlements` keeps every integer the provider named, known or not:
    email_sends_max_monthly, ip_count, teammates_max_total, users_max_total."""

    offering: Offering
    entitlements: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RemoteAccount:
    """One row of the provider's account list. Only the id is certain."""

    id: str
    created_at: datetime | None = None
    email: str = ""
    updated_at: datetime | None = None


@dataclass(frozen=True)
class Identity:
    """What can be read on behalf of an account to prove whose it is. None = not readable, "" = empty."""

    email: str | None = None
    username: str | None = None
    company: str | None = None


class UsageSource(StrEnum):
    """Where a usage figure comes from."""

    CREDITS = "credits"
    OVERVIEW_JSON = "overview_json"
    OVERVIEW_XML = "overview_xml"


@dataclass(frozen=True)
class Usage:
    """What the provider said of one account's use in its current billing period.

    Counts are e-mails (credits). None means the provider did not say; it never means zero. `period_start_on`
    and `period_end_on` are both inclusive dates without zone; `period_inferred` is True when the start was
    not in the answer (it is then None: whoever knows the account's earlier periods may infer it). `raw` is
    the answer as received, made safe to keep as JSON: no secrets, fractions as text.
    """

    source: UsageSource
    used: int | None
    allowed: int | None = None
    remaining: int | None = None
    overage: int | None = None
    requests: int | None = None
    reputation: Decimal | None = None
    package: str = ""
    period_start_on: date | None = None
    period_end_on: date | None = None
    period_process_on: date | None = None
    period_inferred: bool = False
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountRef:
    """How to reach one account: the provider's id, and the v2 user name where one is known ("" = not)."""

    id: str
    username: str = ""


@dataclass(frozen=True)
class SignIn:
    """A one-time address that signs a browser in as the account. Never logged, stored or repeated."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class Check:
    """One thing `verify` found out about a connection. `ok` None = could not be tried; `detail` says why."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Capabilities:
    """What a kind of provider can do. Frozen data: shared code asks this and never the provider's name."""

    kind: str
    label: str
    regions: dict[str, str]
    offerings: bool
    test_accounts: bool
    sign_in_as: bool
    idempotent_create: bool
    writable_states: frozenset[AccountState]
    usage_sources: tuple[UsageSource, ...]
    suspend_consequences: tuple[tuple[str, str, str], ...] = ()
    unsuspend_consequences: tuple[tuple[str, str, str], ...] = ()
    delete_consequences: tuple[tuple[str, str, str], ...] = ()
    """Consequences are (icon, what, detail) in plain English, marked for translation where they are shown."""


@dataclass(frozen=True)
class ConnectionConfig:
    """Everything a client needs. Secrets never appear in `repr`."""

    kind: str
    base_url: str
    api_key: str = field(repr=False)
    v2_auth: str = "key_in_form"  # "key_in_form", "header" or "password"
    v2_username: str = field(default="", repr=False)
    v2_password: str = field(default="", repr=False)
    sign_in_hosts: tuple[str, ...] = ("sendgrid.com",)
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    total_timeout: float = 45.0
    allow_private: bool = False  # development only: the base URL may be http and lead into a private network


class Provider(Protocol):
    """See the module's docstring for the rules every method keeps."""

    capabilities: Capabilities

    def list_accounts(self, *, patience: float = 120.0) -> Iterator[RemoteAccount]:
        """Walk the complete account list, each account once. May wait up to `patience` seconds in all for the
        provider's rate limit. Any page that fails raises (`Unreadable` where the list cannot be read to its
        end): an incomplete list must never look like a complete one."""
        ...

    def catalog(self) -> list[CatalogEntry]: ...

    def create_account(self, profile: Profile, offerings: list[Offering], *, test: bool) -> str:
        """Create one (paid) account and return the provider's id. One POST, never repeated here."""
        ...

    def offerings(self, account: AccountRef) -> list[Offering]: ...

    def replace_offerings(self, account: AccountRef, offerings: list[Offering]) -> list[Offering]:
        """Overwrite the whole list; returns the list as the provider now has it."""
        ...

    def state(self, account: AccountRef) -> StateReading: ...

    def set_sending(self, account: AccountRef, *, on: bool) -> None:
        """Ask for `active` (on) or `stopped_by_us` (off). 204 has no body: read `state` afterwards."""
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
