"""Monthly prices of the accounts of a bulk change, before and after it: per account, and together by currency.

All accounts are priced with a constant number of queries, and accounts with equal prices and offerings only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from billing.pricing.quotes.monthly import Items, QuoteChange, Quoter, items_of_offerings
from billing.pricing.statements.amounts import minor_text
from customers.bulk.plan import OF_OFFERINGS
from customers.models import ChangeSet, ChangeSetItem
from customers.models.account import AccountState, as_offerings
from portal.providers import CAPABILITIES

# Kinds of bulk changes that can move a price.
PRICED = (*OF_OFFERINGS, ChangeSet.Kind.SUSPEND, ChangeSet.Kind.UNSUSPEND, ChangeSet.Kind.DELETE)


@dataclass(slots=True)
class BulkSum:
    """Accounts of one currency whose prices are known before and after, together."""

    currency: str
    now_minor: int = 0
    after_minor: int = 0
    accounts: int = 0

    @property
    def now(self) -> str:
        return minor_text(self.now_minor, self.currency)

    @property
    def after(self) -> str:
        return minor_text(self.after_minor, self.currency)

    @property
    def moved(self) -> str:
        return minor_text(self.after_minor - self.now_minor, self.currency, signed=True)


@dataclass(slots=True)
class BulkQuote:
    """Sums by currency. `unpriced`: accounts with an offering that has no price; `without`: those without a contract,
    and without a price list of their provider. `changes` are those of the accounts asked for, by public ID."""

    sums: dict[str, BulkSum] = field(default_factory=dict)
    accounts: int = 0
    unpriced: int = 0
    without: int = 0
    changes: dict[UUID, QuoteChange] = field(default_factory=dict)

    @property
    def rows(self) -> list[BulkSum]:
        return [self.sums[currency] for currency in sorted(self.sums)]

    @property
    def priced(self) -> int:
        return self.accounts - self.unpriced - self.without

    def add(self, account: UUID, change: QuoteChange, *, shown: bool) -> None:
        self.accounts += 1
        if shown:
            self.changes[account] = change
        now, after = change.now, change.after
        if now.problem or after.problem or now.default_list:
            self.without += 1
        elif not change.is_whole:
            self.unpriced += 1
        else:
            row = self.sums.setdefault(after.currency, BulkSum(after.currency))
            row.now_minor += now.total_minor
            row.after_minor += after.total_minor
            row.accounts += 1


class PlannedAccount(NamedTuple):
    """An account of a bulk change as the plan read it, and as it becomes."""

    account: UUID
    customer: int
    kind: str
    state: str
    offerings: list[dict[str, Any]] | None
    before: dict[str, Any]
    after: dict[str, Any]

    def situation(self, change: Mapping[str, Any]) -> tuple[Items, str]:
        rows = change.get("offerings", self.offerings) or []
        return items_of_offerings(as_offerings(rows)), str(change.get("state", self.state))


def bulk_quote(change_set: ChangeSet, *, today: date, shown: frozenset[UUID] = frozenset()) -> BulkQuote:
    """Price the accounts that the bulk change would change, each as it is and as it becomes."""
    planned = list(_planned(change_set))
    quoter = Quoter({each.customer for each in planned}, today=today)
    quote = BulkQuote()
    for each in planned:
        has_offerings = CAPABILITIES[each.kind].offerings
        now, after = (
            quoter.monthly(each.customer, each.kind, items, state=_billed_state(state), has_offerings=has_offerings)
            for items, state in (each.situation(each.before), each.situation(each.after))
        )
        quote.add(each.account, QuoteChange(now, after), shown=each.account in shown)
    return quote


def _planned(change_set: ChangeSet) -> Iterator[PlannedAccount]:
    rows = change_set.items.filter(state=ChangeSetItem.State.READY, account__is_test=False).order_by("pk")
    columns = ("public_id", "customer", "connection__kind", "state", "offerings")
    return map(PlannedAccount._make, rows.values_list(*(f"account__{each}" for each in columns), "before", "after"))


def _billed_state(state: str) -> str:
    """Return a state that the engine bills as what is known of the account: one that can't be told is active."""
    unclear = (AccountState.UNKNOWN, AccountState.INDETERMINATE, AccountState.PENDING)
    return AccountState.ACTIVE if state in unclear else state
