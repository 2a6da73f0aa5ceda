"""The rating case: everything that decides the lines of one customer in one statement month, as plain data.

The JSON form is described in docs/reference/rating-case.md and read by `case_json`. Dates are inclusive days of the
connection's billing zone, amounts and rates are exact, and usage is in emails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

SELL, COST = "sell", "cost"
BASE, ADDON, DEDICATED_IP, OVERAGE, COMMIT, ONE_TIME = "base", "addon", "dedicated_ip", "overage", "commit", "one_time"
FULL, PRORATED = "full", "prorated"
GRADUATED, VOLUME, BLOCK = "graduated", "volume", "block"
LAST, HIGHEST, INCURRED = "last", "highest", "incurred"
BANNED, DELETED = "banned", "deleted"
SUSPENDED_STATES = frozenset({"stopped_by_us", "stopped_by_provider", BANNED})
STATES = ("pending", "active", "stopped_by_us", "stopped_by_provider", BANNED, "indeterminate", DELETED, "unknown")
EXACT_STATUSES = frozenset({"final", "derived"})
STATUSES = ("final", "derived", "interval", "open", "stale", "missing", "disputed")
PROVIDER_SHARE = "provider_share"
# Providers whose documentation describes incurred: the default of what they charge.
INCURRED_BY_DEFAULT = frozenset({"sendgrid"})
MOST_HELD = 10**9


@dataclass(frozen=True, slots=True)
class Tier:
    """Units beyond the included volume up to `up_to` (inclusive; None: no bound), and what `per` of them cost."""

    up_to: int | None
    rate: Decimal


@dataclass(frozen=True, slots=True)
class BasePrice:
    offering: str
    amount: Decimal
    on_start: str = FULL
    on_close: str = FULL
    bill_when_suspended: bool = True
    account_code: str = ""
    tax_code: str = ""

    @property
    def component(self) -> str:
        return BASE


@dataclass(frozen=True, slots=True)
class OveragePrice:
    """`when_changed` None is the default: incurred for SendGrid's costs, otherwise last."""

    offering: str
    included: int
    tiers: tuple[Tier, ...]
    mode: str = GRADUATED
    per: int = 1
    block_size: int | None = None
    when_changed: str | None = None
    account_code: str = ""
    tax_code: str = ""

    @property
    def component(self) -> str:
        return OVERAGE


@dataclass(frozen=True, slots=True)
class AddonPrice:
    """Price of one unit above `included`. A dedicated IP is an add-on with a component of its own."""

    offering: str
    component: str
    amount: Decimal
    included: int = 0
    prorated: bool = False
    on_start: str = FULL
    on_close: str = FULL
    bill_when_suspended: bool = True
    account_code: str = ""
    tax_code: str = ""


@dataclass(frozen=True, slots=True)
class OneTimePrice:
    offering: str
    amount: Decimal
    included: int = 0
    account_code: str = ""
    tax_code: str = ""

    @property
    def component(self) -> str:
        return ONE_TIME


ComponentPrice = BasePrice | OveragePrice | AddonPrice | OneTimePrice


@dataclass(frozen=True, slots=True)
class ListVersion:
    id: str
    valid_from: date
    prices: tuple[ComponentPrice, ...]


@dataclass(frozen=True, slots=True)
class ListPrices:
    """One price list of one provider with its published versions, oldest first."""

    id: str
    name: str
    provider: str
    versions: tuple[ListVersion, ...]


@dataclass(frozen=True, slots=True)
class ContractDiscount:
    valid_from: date
    valid_until: date | None
    percent: Decimal
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MinimumCommit:
    amount: Decimal
    prorated: bool = False


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """Replaces the named fields of one component; `fields` are pairs of a field's name and its value."""

    valid_from: date
    valid_until: date | None
    offering: str
    component: str
    fields: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class ContractTerms:
    id: str
    valid_from: date
    valid_until: date | None
    price_lists: tuple[str, ...]
    discounts: tuple[ContractDiscount, ...] = ()
    commit: MinimumCommit | None = None
    overrides: tuple[PriceOverride, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldItem:
    name: str
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class OfferingSpan:
    """Offerings of an account from a day on. `uncertain_since` is the earliest day that the change may have come."""

    from_on: date
    items: tuple[HeldItem, ...]
    uncertain_since: date | None = None


@dataclass(frozen=True, slots=True)
class StateSpan:
    from_on: date
    state: str


@dataclass(frozen=True, slots=True)
class OwnerSpan:
    from_on: date
    customer: str


@dataclass(frozen=True, slots=True)
class UsageAtChange:
    """Emails used in the period when the offerings changed on that day; `high` is the most if that is not exact."""

    on: date
    used: int
    high: int | None = None


@dataclass(frozen=True, slots=True)
class RatedPeriod:
    """A billing period and its figure. `used` None: no figure. An interval without `high` has no known most."""

    start: date
    end: date
    used: int | None = None
    high: int | None = None
    status: str = "final"
    at_changes: tuple[UsageAtChange, ...] = ()
    allowed: int | None = None


@dataclass(frozen=True, slots=True)
class RatedAccount:
    """An account of the customer. Without `owners` it was the customer's all the time."""

    id: str
    name: str
    provider: str
    test: bool = False
    billing_starts_on: date | None = None
    created_on: date | None = None
    deleted_on: date | None = None
    owners: tuple[OwnerSpan, ...] = ()
    offerings: tuple[OfferingSpan, ...] = ()
    states: tuple[StateSpan, ...] = ()
    periods: tuple[RatedPeriod, ...] = ()


@dataclass(frozen=True, slots=True)
class LateFigure:
    """A figure that changed after the month was closed. `period` takes the place of the account's billing period that
    began on `replaces` when the month was closed; None: on the same day, or the month had none."""

    account: str
    period: RatedPeriod
    replaces: date | None = None


@dataclass(frozen=True, slots=True)
class InvoicePart:
    """One account on a provider's invoice; `cost` is the provider's own share."""

    id: str
    count: int
    cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class SharedInvoice:
    """A provider's invoice for many accounts. `removed` is the provider's sum of removed accounts."""

    start: date
    end: date
    total: Decimal
    method: str
    parent: InvoicePart
    accounts: tuple[InvoicePart, ...]
    unknown: tuple[InvoicePart, ...]
    removed_accounts: tuple[InvoicePart, ...]
    removed: InvoicePart


@dataclass(frozen=True, slots=True)
class ConversionRate:
    """`rate` units of currency `units_of` are worth one unit of currency `per_one`."""

    rate: Decimal
    units_of: str
    per_one: str
    source: str
    on: date


@dataclass(frozen=True, slots=True)
class Case:
    """`month` is the first day of the statement month. `late_figures` are in the order in which they came."""

    side: str
    currency: str
    month: date
    customer: str
    price_lists: tuple[ListPrices, ...] = ()
    contracts: tuple[ContractTerms, ...] = ()
    accounts: tuple[RatedAccount, ...] = ()
    invoice: SharedInvoice | None = None
    exchange_rate: ConversionRate | None = None
    late_figures: tuple[LateFigure, ...] = ()
