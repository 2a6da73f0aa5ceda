"""The contract between the portal and a provider of e-mail sending accounts.

How a provider is used:

1. `portal.providers.client(config)` gives a `Provider` for one connection. Configuration is handed in; a
   provider reads no settings, no database and no environment.
2. Whoever asks for a change looks at `provider.capabilities` first and never at the provider's name.
3. Reads may be repeated. A method that changes something sends *exactly one* request that does so and never
   retries it itself.
4. Every method returns parsed values or raises one of `portal.providers.errors`. No other exception leaves
   this package for anything a provider can answer.
5. Values of a provider that we do not know stay visible: `AccountState.UNKNOWN` with the provider's word in
   `raw`, never an exception, never a guess.
6. What a provider has no call for raises `Unsupported`; `lacking.Lacking` has that ready for every optional
   part.

To add a provider, see CONTRIBUTING.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from .rate_limit_protocol import Pace


class ReportedState(StrEnum):
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

    state: ReportedState
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
class ProviderOffering:
    """One line of an account's list. `type` is "package" or "addon" (any other word is kept as it came)."""

    name: str
    type: str
    quantity: int = 1


@dataclass(frozen=True)
class CatalogEntry:
    """What a connection may sell. `entitlements` keeps every integer the provider named, known or not:
    email_sends_max_monthly, ip_count, teammates_max_total, users_max_total."""

    offering: ProviderOffering
    entitlements: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountSettings:
    """What can be written about an account beside its state and its offerings. `monthly_cap` is in e-mails a
    month; **0 means no cap**, at the provider and here."""

    name: str
    website: str
    monthly_cap: int


@dataclass(frozen=True)
class Details:
    """Everything one read of an account gives. Counts are None where the provider did not say."""

    settings: AccountSettings
    state: StateReading
    domains: int | None = None
    members: int | None = None
    last_activity_at: datetime | None = None


@dataclass(frozen=True)
class NewAccount:
    """What a create is made of: a profile and offerings, or settings, as the provider's capabilities say."""

    profile: Profile
    offerings: tuple[ProviderOffering, ...] = ()
    settings: AccountSettings | None = None
    test: bool = False


@dataclass(frozen=True)
class IdempotentBody:
    """A change as it was decided: its exact body, and the key it is sent under where the provider takes one.

    Both are stored before the first send and used unchanged for every later one, byte for byte: a provider with
    idempotency keys refuses a key with another body, and one without ignores the key.
    """

    key: str
    body: str


@dataclass(frozen=True)
class Created:
    """The provider's id of what was created. `replayed`: the answer is the stored one of an earlier send, so it
    speaks of the past and has to be read back before it is trusted."""

    id: str
    replayed: bool = False


@dataclass(frozen=True)
class ListedAccount:
    """One row of the provider's account list. Only the id is certain."""

    id: str
    created_at: datetime | None = None
    email: str = ""
    updated_at: datetime | None = None
    settings: AccountSettings | None = None
    state: StateReading | None = None


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
    POOLED = "pooled"


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
    allocated_cost: Decimal | None = None
    currency: str = ""  # upper case ISO 4217, "" = the source names no money
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """One bucket of a pooled invoice: e-mails received, and the share of the cost the provider allocates to
    them. `account_id` is "" for the buckets that are no account's."""

    count: int
    cost: Decimal
    account_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class PooledUsage:
    """The use of all accounts of a connection in the current period, as one invoice will count it.

    `start_at` is inclusive, `end_at` exclusive (aware UTC). `total` is parent + accounts + removed: exactly for
    counts, within a cent or so for costs. `note` is the provider's own explanation of the shares; it is shown
    wherever one of them is.
    """

    start_at: datetime
    end_at: datetime
    currency: str
    method: str
    note: str
    parent: Share
    accounts: tuple[Share, ...]
    removed: Share
    total: Share
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
class Scope:
    """A right our own credential may carry. `allows` says in plain English what it is for in the portal; `for_kinds`
    are the kinds of operation that need it, `for_reads` the parts of the portal that read with it."""

    name: str
    allows: str
    for_kinds: tuple[str, ...] = ()
    for_reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyBundle:
    """A set of scopes with a name people understand, offered when a key is made for an account."""

    name: str
    label: str
    scopes: tuple[str, ...]


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
    writable_states: frozenset[ReportedState]
    usage_sources: tuple[UsageSource, ...]
    pace: Pace
    """How fast it may be asked; a connection may be set to less."""
    settings: bool = False
    """Accounts have a name, a website and a monthly cap that can be written, instead of offerings."""
    keys: bool = False
    """We make, list, change and delete the API keys of an account."""
    sending_setup: bool = False
    """With an account's own key its domains can be set up and a message sent."""
    sign_in_hosts: tuple[str, ...] = ()
    """Where its sign-in addresses lead, subdomains included."""
    needs_account_id: bool = False
    """A connection is named by our own account id at the provider, beside the key."""
    reason_is_shown: bool = False
    """The reason of a suspension reaches the customer."""
    reason_max: int = 1000
    own_scopes: tuple[Scope, ...] = ()
    """Rights our credential may lack, one by one. Empty: a key can do everything or nothing."""
    key_bundles: tuple[KeyBundle, ...] = ()
    key_scopes: tuple[str, ...] = ()
    """Every scope a key of an account may carry, in the order they are offered."""
    ip_allow_list_max: int = 0
    suspend_consequences: tuple[tuple[str, str, str], ...] = ()
    unsuspend_consequences: tuple[tuple[str, str, str], ...] = ()
    delete_consequences: tuple[tuple[str, str, str], ...] = ()
    """Consequences are (icon, what, detail) in plain English, marked for translation where they are shown."""
    held_because: tuple[tuple[str, str, str], ...] = ()
    """Words of the provider for a state it set itself: (its word, what it means, who can lift it)."""

    @property
    def usernames(self) -> bool:
        """Accounts are known by a user name besides, to the older reports."""
        return not {UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML}.isdisjoint(self.usage_sources)


@dataclass(frozen=True)
class ConnectionConfig:
    """Everything a client needs. Secrets never appear in `repr`."""

    kind: str
    base_url: str
    api_key: str = field(repr=False)
    v2_auth: str = "key_in_form"  # "key_in_form", "header" or "password"
    v2_username: str = field(default="", repr=False)
    v2_password: str = field(default="", repr=False)
    sign_in_hosts: tuple[str, ...] = ()  # where a sign-in address may lead, subdomains included
    account_id: str = ""  # our own account at the provider, where the capabilities ask for one
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    total_timeout: float = 45.0
    repeat_reads: bool = True  # off: a read that fails on the way is not tried again
    allow_private: bool = False  # development only: the base URL may be http and lead into a private network
