"""Queries of contracts: the list, customers without one, and what a customer has."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.shortcuts import get_object_or_404

from billing.models import Contract, ContractPriceList, PriceList
from billing.pricing.contract_days import (
    STATES,
    contract_in_force,
    contracts_in_force,
    ending,
    not_replaced,
    published,
    state_on,
)
from billing.pricing.contracts.filters import ALL, DRAFTS, ContractFilters
from billing.pricing.contracts.terms import terms_of
from customers.models import Account, Customer
from customers.models.account import AccountState
from portal.paging import KeyedRows
from portal.typed_text import matches


@dataclass(frozen=True)
class ContractRow:
    contract: Contract
    state: str
    lists: Sequence[PriceList]

    @property
    def label(self) -> str:
        return str(STATES[self.state])

    @property
    def commit(self) -> Decimal | None:
        commit = terms_of(self.contract)["commit"]
        return Decimal(commit["amount"]) if commit else None

    @property
    def discounts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = terms_of(self.contract)["discounts"]
        return found


def contract_or_404(public_id: uuid.UUID) -> Contract:
    return get_object_or_404(Contract.objects.select_related("customer", "published_by"), public_id=public_id)


def draft_contract_or_404(public_id: uuid.UUID) -> Contract:
    rows = Contract.objects.select_related("customer")
    return get_object_or_404(rows, public_id=public_id, published_at=None)


def listed_contracts(filters: ContractFilters, *, today: date) -> KeyedRows:
    """Return the contracts that match: by default those in force or scheduled."""
    found = _selected(filters, today)
    if filters.price_list:
        of_list = ContractPriceList.objects.filter(contract=OuterRef("pk"), price_list__public_id=filters.price_list)
        found = found.filter(Exists(of_list))
    for word in filters.q.split()[:5]:
        found = found.filter(matches("customer__search__contains", word.lower()))
    if filters.lists_nothing:
        found = found.none()
    rows = Contract.objects.select_related("customer").prefetch_related("price_lists__price_list")
    return KeyedRows(found.order_by("customer__company_name", "customer", "valid_from", "n"), rows)


def _selected(filters: ContractFilters, today: date) -> QuerySet[Contract]:
    if filters.show == DRAFTS:
        return Contract.objects.filter(published_at=None)
    if filters.on:
        return contracts_in_force(filters.on)
    if filters.ending:
        return ending(today, today + timedelta(days=int(filters.ending)))
    if filters.show == ALL:
        return published()
    current, scheduled = contracts_in_force(today), not_replaced().filter(valid_from__gt=today)
    return published().filter(pk__in=current.values("pk")) | published().filter(pk__in=scheduled.values("pk"))


def rows_of_contracts(contracts: Sequence[Contract], *, today: date) -> list[ContractRow]:
    """Return the contracts with their states. Two queries, whatever their number."""
    keys = [each.pk for each in contracts]
    current = set(contracts_in_force(today).filter(pk__in=keys).values_list("pk", flat=True))
    lasting = set(not_replaced().filter(pk__in=keys).values_list("pk", flat=True))
    return [
        ContractRow(
            each,
            state_on(each, each if each.pk in current else None, today, is_replaced=each.pk not in lasting),
            [row.price_list for row in each.price_lists.all()],
        )
        for each in contracts
    ]


def customers_without(filters: ContractFilters, *, today: date) -> KeyedRows:
    """Return the customers with accounts that have no contract in force on a day."""
    accounts = Account.objects.filter(customer=OuterRef("pk"), provider_id__isnull=False)
    current = contracts_in_force(filters.on or today).filter(customer=OuterRef("pk"))
    found = Customer.objects.filter(
        ~Exists(current), Exists(accounts.exclude(state=AccountState.DELETED)), archived_at=None
    )
    for word in filters.q.split()[:5]:
        found = found.filter(matches("search__contains", word.lower()))
    if filters.lists_nothing:
        found = found.none()
    drafts = Contract.objects.filter(customer=OuterRef("pk"), published_at=None)
    return KeyedRows(found.order_by("company_name", "pk"), Customer.objects.annotate(has_draft=Exists(drafts)))


def contracts_of(customer: Customer, *, today: date) -> list[ContractRow]:
    """Return the customer's contracts, the draft first and then the newest."""
    contracts = Contract.objects.filter(customer=customer).select_related("published_by")
    found = list(contracts.prefetch_related("price_lists__price_list").order_by("-n"))
    drafts = [each for each in found if each.published_at is None]
    return rows_of_contracts([*drafts, *(each for each in found if each.published_at)], today=today)


def is_in_force(contract: Contract, day: date) -> bool:
    return contract_in_force(contract.customer, day) == contract
