"""Draft statements of customers: rated again only where something they are rated from changed.

draft_of     those of one customer, for a page
rate_month   those of all customers, group by group: `billing.rate_statements`

Each group is locked, read, compared and stored in one transaction. Whoever comes later reads what the one before
committed, finds nothing changed, and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from billing.models import Contract, Side, Statement
from billing.pricing.adjustments.additions import Additions
from billing.pricing.statements.agreements import Agreement, PriceCatalog, agreements_of, in_month
from billing.pricing.statements.cases import PreparedCase, customer_cases
from billing.pricing.statements.facts import AccountFacts, World, account_facts, by_customer
from billing.pricing.statements.locks import TOGETHER, lock_group, lock_month
from billing.pricing.statements.results import Books, rate_prepared
from billing.pricing.statements.storage import (
    Owner,
    Rated,
    closed_owners,
    remove_drafts,
    store_drafts,
    stored_drafts,
)
from billing.usage.ledger import last_batch
from billing.usage.periods import last_day
from customers.models import Account, Customer

# Raised with every change of the engine or of a case that gives other lines, so that all drafts are rated again.
RULES = 1


@dataclass(slots=True)
class RatingCounts:
    """Customers that were compared, and those that were rated."""

    compared: int = 0
    rated: int = 0


@dataclass(slots=True)
class CustomerInputs:
    """Everything a customer is rated from in a month, beside what is added to its statements."""

    customer: int
    accounts: Sequence[AccountFacts]
    agreements: Sequence[Agreement]
    digest: str

    def cases(self, catalog: PriceCatalog, month: date) -> list[PreparedCase]:
        return customer_cases(self.customer, self.accounts, self.agreements, catalog, month=month)


class Rater:
    """Reads and rates the customers of one month, all or some (pk)."""

    def __init__(self, month: date, *, now: datetime, customers: Collection[int] | None = None) -> None:
        self.month, self.now = month, now
        self.additions = Additions(month, now=now, customers=customers)
        self.world, self.catalog, self.books = World(month, now=now), PriceCatalog(), Books()

    def added_to(self) -> set[int]:
        """Return the customers (pk) whose statements get an opening balance or an adjustment."""
        self.additions.renew()
        return self.additions.owners

    def inputs_of(self, customers: Collection[int]) -> list[CustomerInputs]:
        """Return the inputs of those customers that have any, in a constant number of queries."""
        agreements = agreements_of(customers, until=last_day(self.month))
        self.catalog.load(name for each in agreements.values() for one in each for name in one.terms.price_lists)
        wanted = set(customers)
        moved = [pk for pk, moves in self.world.moves.items() if any(move.before in wanted for move in moves)]
        of_customers = Q(customer__in=customers)
        accounts = Account.objects.filter(of_customers | Q(pk__in=moved) if moved else of_customers)
        owned = by_customer(account_facts(accounts, self.world))
        found = []
        for customer in sorted(wanted):
            of_customer, agreed = owned.get(customer, []), agreements.get(customer, [])
            added = self.additions.of(customer)
            if of_customer or in_month(agreed, self.month) or added:
                digest = self._digest(of_customer, agreed, added)
                found.append(CustomerInputs(customer, of_customer, agreed, digest))
        return found

    def _digest(self, accounts: Iterable[AccountFacts], agreements: Iterable[Agreement], added: tuple[Any, ...]) -> str:
        digest = hashlib.sha256(f"{RULES} {self.month}".encode())
        for agreement in agreements:
            digest.update(f"{agreement.pk} {agreement.terms.valid_until}".encode())
            for prices in self.catalog.of(agreement.terms.price_lists):
                digest.update(",".join(version.id for version in prices.versions).encode())
        for account in accounts:
            digest.update(repr(account.as_rated).encode())
        if added:
            digest.update(repr(added).encode())
        return digest.hexdigest()

    def rated(self, inputs: CustomerInputs) -> Rated:
        drafts = [
            rate_prepared(each, self.books, self.catalog.version_pks) for each in inputs.cases(self.catalog, self.month)
        ]
        drafts = self.additions.add_to(inputs.customer, drafts)
        return Rated(Owner(Side.SELL, inputs.customer), inputs.digest, drafts)

    def changed(self, customers: Collection[int]) -> tuple[list[CustomerInputs], list[int]]:
        """Return the inputs that differ from those of the stored drafts, and drafts (pk) without any."""
        return self._changed(self._open_inputs(customers), customers)

    def _open_inputs(self, customers: Collection[int]) -> list[CustomerInputs]:
        self.additions.renew()
        return self.inputs_of(set(customers) - closed_owners(Side.SELL, self.month, customers))

    def _changed(
        self, found: Sequence[CustomerInputs], customers: Collection[int]
    ) -> tuple[list[CustomerInputs], list[int]]:
        stored: dict[int | None, set[str]] = {}
        pks: dict[int | None, list[int]] = {}
        drafts = stored_drafts(Side.SELL, self.month, customers).filter(state=Statement.State.DRAFT)
        for pk, customer, inputs in drafts.values_list("pk", "customer", "inputs"):
            stored.setdefault(customer, set()).add(inputs)
            pks.setdefault(customer, []).append(pk)
        known = {each.customer for each in found}
        stale = [pk for customer, rows in pks.items() if customer not in known for pk in rows]
        return [each for each in found if stored.get(each.customer) != {each.digest}], stale

    def refresh(self, customers: Collection[int], counts: RatingCounts) -> list[CustomerInputs]:
        """Rate the customers whose inputs changed, all of one group. Return the inputs of those whose month is open."""
        group = lock_group(next(iter(customers)))
        with transaction.atomic():
            lock_month(Side.SELL, self.month, group)
            batch = last_batch()  # before the figures are read: all batches up to it are in them
            # A run over all groups takes a minute: what changed since it began counts, as it does for a page.
            self.world = World(self.month, now=self.now)
            self.catalog.renew()
            found = self._open_inputs(customers)
            changed, stale = self._changed(found, customers)
            remove_drafts(stale)
            store_drafts([self.rated(each) for each in changed], month=self.month, batch=batch, now=self.now)
        counts.compared += len(customers)
        counts.rated += len(changed)
        return found


def draft_of(customer: Customer, month: date, *, now: datetime) -> list[Statement]:
    """Return the customer's statements of a month, one of each currency: drafts are rated again if anything changed."""
    rater = Rater(month, now=now, customers=[customer.pk])
    changed, stale = rater.changed([customer.pk])
    if changed or stale:
        rater.refresh([customer.pk], RatingCounts())
    return list(stored_drafts(Side.SELL, month, [customer.pk]).order_by("currency"))


def rate_month(month: date, *, now: datetime, customers: Collection[int] | None = None) -> RatingCounts:
    """Rate all customers of a month whose inputs changed, or those of `customers` (pk)."""
    rater, counts = Rater(month, now=now, customers=customers), RatingCounts()
    for group in customer_groups(month, customers, added=rater.added_to()):
        rater.refresh(group, counts)
    return counts


def rated_customers(month: date, added: Collection[int]) -> QuerySet[Customer]:
    """Return the customers that may have a statement of the month, among them `added` (`Rater.added_to`)."""
    return Customer.objects.filter(
        Q(pk__in=Account.objects.filter(duplicate_of=None).values("customer"))
        | Q(pk__in=Contract.objects.filter(published_at__isnull=False).values("customer"))
        | Q(pk__in=added)
        | Q(pk__in=Statement.objects.filter(side=Side.SELL, month=month).values("customer"))
    )


def customer_groups(
    month: date, customers: Collection[int] | None = None, *, added: Collection[int], after: int = 0
) -> Iterator[list[int]]:
    """Yield customers (pk) that may have a statement, or those of `customers`, by the groups that are locked together.
    `added`: see `rated_customers`; `after`: begin behind this one."""
    if customers is None:
        rows = rated_customers(month, added).filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
        ordered: Iterable[int] = rows.iterator(chunk_size=10 * TOGETHER)
    else:
        ordered = sorted(customers)
    group: list[int] = []
    for pk in ordered:
        if group and lock_group(pk) != lock_group(group[0]):
            yield group
            group = []
        group.append(pk)
    if group:
        yield group
