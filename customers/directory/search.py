"""The accounts, and the customers without one, that belong to a list. The pages and the export share these."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.functional import cached_property

from customers.directory.filters import CAPPED, NOBODY, UNCAPPED, CustomerFilters
from customers.models import Account, Connection, Customer, Operation
from customers.models.account import HALTED, LISTED, NEAR_QUOTA, AccountState
from customers.models.operation import never_made
from customers.operations.queries import NEEDS_A_PERSON
from portal import state_labels
from portal.access.models import User
from portal.typed_text import matches

MANY = 1000
_CODE = re.compile(r"op_([0-9a-f]{1,32})", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LIKE_AN_ID = re.compile(r"(?=.*\d)[\w-]{4,100}")


def _few_or_all(keys: QuerySet[Any]) -> list[int] | QuerySet[Any]:
    """Return the only column of `keys`. Few are named one by one, so that the database starts from them; many are left
    to it to scan along the order of the list. Either is fast where the other is slow."""
    few = [key for row in keys[: MANY + 1] for key in row.values()]
    return few if len(few) <= MANY else keys


class Matching:
    """The two kinds of rows a list has. `accounts` and `bare` are unordered querysets."""

    def __init__(self, filters: CustomerFilters) -> None:
        self.filters = filters

    @cached_property
    def accounts(self) -> QuerySet[Account]:
        listed = Q(archived=True, merged_at=None) if self.filters.view == "archived" else LISTED
        found = Account.objects.order_by().filter(listed)
        if self.filters.only_bare or self.filters.lists_nothing:
            return found.none()
        return found.filter(self._of_view(), self._of_account(), self._of_owner, self._searched("customer_id"))

    @property
    def counted(self) -> QuerySet[Any]:
        """Return rows to count for a view without filters: as many as `accounts` has, found without a detour where
        that has one. An archived customer and a merged duplicate have no open operation."""
        if self.filters.view == "attention":
            return Operation.objects.order_by().filter(NEEDS_A_PERSON).values("account").distinct()
        return self.accounts

    @cached_property
    def bare(self) -> QuerySet[Customer]:
        """Customers without any account other than merged duplicates."""
        if not self.filters.with_bare:
            return Customer.objects.none()
        accounts = Account.objects.filter(customer=OuterRef("pk"), merged_at=None)
        found = Customer.objects.order_by().filter(
            ~Exists(accounts), may_be_bare=True, archived_at__isnull=self.filters.view != "archived"
        )
        if self.filters.view == "mine":
            found = found.filter(owner=self.filters.user)
        return found.filter(self._of_owner, self._searched("pk"))

    def _of_view(self) -> Q:
        conditions = {
            "near": Q(quota_level__gte=NEAR_QUOTA),
            "stopped": Q(state__in=HALTED),
            "mine": Q(owner=self.filters.user),
            "no-reading": Q(no_reading=True),
        }
        if self.filters.view == "attention":
            return Q(pk__in=_few_or_all(Operation.objects.order_by().filter(NEEDS_A_PERSON).values("account")))
        return conditions.get(self.filters.view, Q())

    def _of_account(self) -> Q:
        filters = self.filters
        found = self._of_state()
        if filters.connection:
            found &= Q(connection=filters.connection)
        if filters.provider:
            found &= Q(connection__in=[pk for pk, each in filters.connections.items() if each.kind == filters.provider])
        if filters.package in (CAPPED, UNCAPPED):
            return found & self._of_cap(filters.package == CAPPED)
        return found & Q(package=filters.package) if filters.package else found

    def _of_state(self) -> Q:
        match self.filters.state:
            case "":
                return Q()
            case state_labels.NOT_CREATED:
                return never_made()
            case AccountState.PENDING:
                return Q(state=AccountState.PENDING) & ~never_made()
            case stored:
                return Q(state=stored)

    def _of_cap(self, capped: bool) -> Q:
        """Match by the cap as read, or before the first reading as requested."""
        with_settings = Q(connection__in=self.filters.connections_that(lambda can: can.settings))
        compare, cap = ("__gt", 0) if capped else ("", 0)
        read = Q(**{f"settings__monthly_cap{compare}": cap})
        asked = Q(settings__isnull=True, **{f"desired_settings__monthly_cap{compare}": cap})
        return with_settings & (read | asked)

    @cached_property
    def _of_owner(self) -> Q:
        if not self.filters.owner:
            return Q()
        if self.filters.owner == NOBODY:
            return Q(owner=None)
        return Q(owner__in=list(User.objects.filter(public_id=self.filters.owner).values_list("pk", flat=True)))

    def _searched(self, customer: str) -> Q:
        if not self.filters.q:
            return Q()
        if self._code is not None:
            return self._code if customer == "customer_id" else Q(pk__in=[])
        found = Q(**{f"{customer}__in": self._customers})
        if customer == "customer_id" and self._ids:
            return found | Q(pk__in=self._ids)
        return found

    @cached_property
    def _code(self) -> Q | None:
        """Match an operation's short code, or its whole ID."""
        match = _CODE.fullmatch(self.filters.q)
        if not match:
            return None
        first, last = (uuid.UUID(match[1].ljust(32, fill)) for fill in "0f")
        asked = Operation.objects.filter(public_id__gte=first, public_id__lte=last)
        return Q(pk__in=asked.values("account"))

    @cached_property
    def _customers(self) -> list[int] | QuerySet[Customer]:
        lowered = self.filters.q.lower()
        words = matches("search__contains", lowered)
        if not lowered.isascii():  # SQLite lowers ASCII alone
            words |= matches("search__contains", self.filters.q)
        return _few_or_all(Customer.objects.order_by().filter(words).values("pk"))

    @cached_property
    def _ids(self) -> list[int]:
        """Accounts by the provider's ID, whole or its beginning."""
        wanted = self.filters.q
        if not _LIKE_AN_ID.fullmatch(wanted):
            return []
        if _UUID.fullmatch(wanted):  # they are lower case, whatever is pasted
            wanted = wanted.lower()
        exact = Account.objects.order_by().filter(connection__in=Connection.objects.values("pk"), provider_id=wanted)
        started = Account.objects.order_by().filter(provider_id__startswith=wanted)
        return list(exact.values_list("pk", flat=True)[:MANY]) or list(started.values_list("pk", flat=True)[:MANY])
