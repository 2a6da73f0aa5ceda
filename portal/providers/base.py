"""Contract between the portal and a provider of email sending accounts.

How a provider is used:

1. `portal.providers.client(config)` returns a `Provider` for one connection. Configuration is passed in; a
   provider reads no settings, no database and no environment.
2. Callers check `provider.capabilities` before a change, never the provider's name.
3. Reads may be repeated. A method that changes something sends *exactly one* request that does so and never
   retries it itself.
4. Every method returns parsed values or raises one of `portal.providers.errors`. No other exception leaves
   this package for anything a provider can answer.
5. Unknown values of a provider stay visible: `ReportedState.UNKNOWN` with the provider's value in `raw`, never
   an exception, never a guess.
6. A call the provider does not have raises `Unsupported`; `Provider` implements that for every optional part.

To add a provider, see CONTRIBUTING.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from .rate_limit import Pace

STATISTICS_DAYS = 366
"""Most days that one read of statistics covers."""


class ReportedState(StrEnum):
    """Account states common to all providers. Providers never return `pending`, which is the portal's own."""

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
    """Account state as reported: the common state, and the provider's value (`raw`)."""

    state: ReportedState
    raw: str


@dataclass(frozen=True)
class Profile:
    """Owner of a new account. Only `email` is required: it identifies the account later. "" = not sent."""

    email: str
    first_name: str = ""
    last_name: str = ""
    company_name: str = ""
    company_website: str = ""
    phone: str = ""
    timezone: str = ""


@dataclass(frozen=True, order=True)
class ProviderOffering:
    """One offering of an account. `type` is "package" or "addon" (any other value is stored unchanged)."""

    name: str
    type: str
    quantity: int = 1


@dataclass(frozen=True)
class CatalogEntry:
    """Offering available on a connection. `entitlements` holds every integer the provider returned, known or not:
    email_sends_max_monthly, ip_count, teammates_max_total, users_max_total."""

    offering: ProviderOffering
    entitlements: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountSettings:
    """Editable account data besides state and offerings. `monthly_cap` is in emails a month; **0 means no cap**, at the
    provider and here."""

    name: str
    website: str
    monthly_cap: int


@dataclass(frozen=True)
class Details:
    """Account details from one read. Counts are None where the provider returned none."""

    settings: AccountSettings
    state: StateReading
    domains: int | None = None
    members: int | None = None
    last_activity_at: datetime | None = None


@dataclass(frozen=True)
class NewAccount:
    """Data of an account create: a profile and offerings, or settings, depending on the capabilities."""

    profile: Profile
    offerings: tuple[ProviderOffering, ...] = ()
    settings: AccountSettings | None = None
    test: bool = False


@dataclass(frozen=True)
class IdempotentBody:
    """Body of a change, and the idempotency key it is sent under if the provider takes one.

    Both are stored before the first request and used unchanged for every later one, byte for byte: a provider with
    idempotency keys rejects a key with another body, and one without ignores the key.
    """

    key: str
    body: str


@dataclass(frozen=True)
class Created:
    """The provider's ID of a created object. `replayed`: the answer is the stored one of an earlier request, so it may
    be outdated and has to be read back."""

    id: str
    replayed: bool = False


@dataclass(frozen=True)
class ListedAccount:
    """One row of the provider's account list. Only the ID is guaranteed."""

    id: str
    created_at: datetime | None = None
    email: str = ""
    settings: AccountSettings | None = None
    state: StateReading | None = None


@dataclass(frozen=True)
class Identity:
    """Identifying data read on behalf of an account. None = not readable, "" = empty."""

    email: str | None = None
    username: str | None = None
    company: str | None = None


class UsageSource(StrEnum):
    """Source of a usage figure."""

    CREDITS = "credits"
    OVERVIEW_JSON = "overview_json"
    OVERVIEW_XML = "overview_xml"
    POOLED = "pooled"


@dataclass(frozen=True)
class Usage:
    """One account's usage in its current billing period as reported by the provider.

    Counts are emails (credits). None means not reported, never zero. `period_start_on` and `period_end_on` are
    inclusive dates without a time zone; `period_inferred` is True when the start was not in the answer (it is then
    None, and may be inferred from the account's earlier periods). `raw` is the answer as received, made safe to store
    as JSON: no secrets, fractions as text.
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
    currency: str = ""  # upper case ISO 4217, "" = the source returns no cost
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """One bucket of a pooled invoice: emails received, and the share of the cost the provider allocates to them.
    `account_id` is "" for buckets that belong to no account."""

    count: int
    cost: Decimal
    account_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class PooledUsage:
    """Usage of all accounts of a connection in the current period, billed on one invoice.

    `start_at` is inclusive, `end_at` exclusive (aware UTC). `total` is parent + accounts + removed: exactly for counts,
    within a cent or so for costs. `note` is the provider's explanation of the shares; it is shown next to every share.
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

    @property
    def days(self) -> tuple[date, date]:
        """First and last day of the period: an end at midnight belongs to the day before."""
        last = self.end_at - timedelta(microseconds=1)
        return self.start_at.astimezone(UTC).date(), last.astimezone(UTC).date()

    def usage_of(self, share: Share, *, cap: int | None = None) -> Usage:
        """Return the usage of one account. `cap` is its allowance; usage over a cap is no overage."""
        start_on, end_on = self.days
        return Usage(
            source=UsageSource.POOLED,
            used=share.count,
            allowed=cap,
            period_start_on=start_on,
            period_end_on=end_on,
            allocated_cost=share.cost,
            currency=self.currency,
            raw={"count": share.count, "cost": str(share.cost)},
        )


@dataclass(frozen=True)
class AccountRef:
    """Reference to one account: the provider's ID, and the v2 username if known ("" = not)."""

    id: str
    username: str = ""


@dataclass(frozen=True)
class SignIn:
    """One-time URL that signs a browser in as the account. Never logged, stored or repeated."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class Check:
    """One result of `verify`. `ok` None = could not be tried; `detail` explains the result."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Scope:
    """Scope of the connection's key. `allows` describes its use in the portal; `for_kinds` are the operation kinds that
    need it, `for_reads` the reads that need it."""

    name: str
    allows: str
    for_kinds: tuple[str, ...] = ()
    for_reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyBundle:
    """Named set of scopes, offered when a key is created for an account."""

    name: str
    label: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of a kind of provider. Shared code checks these and never the provider's name."""

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
    "Rate limit of the provider. A connection can have a lower one."
    settings: bool = False
    "Accounts have an editable name, website and monthly cap instead of offerings."
    keys: bool = False
    """The portal creates, lists, changes and deletes the API keys of an account."""
    statistics: bool = False
    """Requests per day can be read on behalf of an account."""
    sending_setup: bool = False
    """Domains can be set up and a message sent with an account's own key."""
    sign_in_hosts: tuple[str, ...] = ()
    """Hosts of sign-in URLs, including their subdomains."""
    needs_account_id: bool = False
    """A connection needs the reseller's own account ID at the provider besides the key."""
    reason_is_shown: bool = False
    """The reason of a suspension is shown to the customer."""
    reason_max: int = 1000
    own_scopes: tuple[Scope, ...] = ()
    """Scopes the connection's key may lack. Empty: a key can do everything or nothing."""
    key_bundles: tuple[KeyBundle, ...] = ()
    key_scopes: tuple[str, ...] = ()
    """Scopes an account's key may have, in the order they are offered."""
    ip_allow_list_max: int = 0
    suspend_consequences: tuple[tuple[str, str, str], ...] = ()
    unsuspend_consequences: tuple[tuple[str, str, str], ...] = ()
    delete_consequences: tuple[tuple[str, str, str], ...] = ()
    """Consequences are (icon, summary, detail) in plain English, marked for translation where they are shown."""
    blocks_temporarily: bool = False
    """A 403 may also mean that requests are blocked for a while, after too many that were rejected."""
    credit_ceiling: tuple[int, int] | None = None
    """Sending stops at this multiple (numerator, denominator) of the quota; None: nothing is known to stop it."""
    held_because: tuple[tuple[str, str, str], ...] = ()
    """Explanations of states the provider sets itself: (its value, its meaning, who can lift it)."""

    @property
    def usernames(self) -> bool:
        """True if accounts also have a username, used by the older reports."""
        return not {UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML}.isdisjoint(self.usage_sources)


@dataclass(frozen=True)
class ConnectionConfig:
    """Configuration of a client. Secrets never appear in `repr`."""

    kind: str
    base_url: str
    api_key: str = field(repr=False)
    v2_auth: str = "key_in_form"  # "key_in_form", "header" or "password"
    v2_username: str = field(default="", repr=False)
    v2_password: str = field(default="", repr=False)
    sign_in_hosts: tuple[str, ...] = ()  # allowed hosts of sign-in URLs, including subdomains
    account_id: str = ""  # the reseller's own account at the provider, if the capabilities require it
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    total_timeout: float = 45.0
    repeat_reads: bool = True  # off: a read that fails in transit is not retried
    allow_private: bool = False  # development only: the base URL may be http and resolve to a private network
