"""The customer list: one row for each account, and one for each customer without an account.

The page is found in two steps (portal.paging). The number of queries does not depend on the number of rows.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models import BigIntegerField, F, FloatField, QuerySet, Value
from django.db.models.functions import Cast, Lower, NullIf
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from customers.connections import catalogue
from customers.directory.filters import CustomerFilters
from customers.directory.search import Matching
from customers.labels import cap_of, cap_text
from customers.models import Account, Connection, Customer, Operation
from customers.models.account import AccountState
from customers.models.operation_states import OPEN, WAITS_FOR_A_PERSON, OperationKind
from customers.schedules import holds
from portal.consistent_reads import consistent_read
from portal.counting import counts_of
from portal.paging import COUNTED, LongPage, long_page
from portal.state_labels import NOT_CREATED, operation_look
from portal.typed_text import visible_name

_NOWHERE = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a row: an account's, or (account None) that of a customer without one."""

    account: int | None
    customer: int


@dataclass(slots=True)
class CustomerRow:
    """All values a row shows, formatted."""

    key: str
    company: str
    email: str
    owner: str
    url: str = ""
    select: str = ""  # the name of its checkbox
    connection: str = ""
    provider_label: str = ""
    provider_id: str = ""
    state: str = ""
    state_raw: str = ""
    is_test: bool = False
    held: bool = False
    package: str = ""
    package_label: str = ""
    unlimited: bool = False
    used: int | None = None
    allowed: int | None = None
    read_at: datetime | None = None
    since: date | datetime | None = None
    instead: str = ""
    changed_at: datetime | None = None
    changed_what: str = ""
    moves: int = 0  # while an operation runs: after how many seconds another look is worth it


class Lines:
    """The rows as a paginator needs them: a count and slices."""

    def __init__(self, filters: CustomerFilters) -> None:
        self.filters = filters
        self.matching = Matching(filters)

    @cached_property
    def _counts(self) -> list[int]:
        return counts_of([self.matching.accounts[: COUNTED + 1], self.matching.bare])

    @property
    def bare_count(self) -> int:
        return self._counts[1]

    def count(self) -> int:
        return sum(self._counts)

    def __getitem__(self, part: slice) -> list[CustomerRow]:
        return rows_of(self.keys(part.start or 0, part.stop), self.filters.connections)

    def keys(self, start: int, stop: int) -> list[Key]:
        if not self.bare_count:
            found = self.ordered()[start:stop].values_list("pk", "customer_id")
            return [Key(*pks) for pks in found]
        if self.filters.by == "name":
            return self._by_name(start, stop)
        return list(self._merged(start, stop))

    def ordered(self) -> QuerySet[Account]:
        """Return the accounts of the list in its order."""
        by, accounts = self.filters.by, self.matching.accounts
        if by == "use":
            share = F("usage_used") / NullIf(Cast("usage_allowed", FloatField()), 0.0)
            # The level, which is indexed, leaves few accounts to compare.
            order = (self._direction(F(each), nulls_last=True) for each in ("quota_level", "share"))
            return accounts.annotate(share=share).order_by(*order, "pk")
        if by == "name":
            return accounts.order_by(*(self._direction(F(each)) for each in ("company", "customer_id", "pk")))
        column = "changed_at" if by == "changed" else by
        return accounts.order_by(*((f"-{column}", "-pk") if self.filters.descending else (column, "pk")))

    def _direction(self, order: Any, **nulls: Any) -> Any:
        return order.desc(**nulls) if self.filters.descending else order.asc(**nulls)

    def _by_name(self, start: int, stop: int) -> list[Key]:
        """Return the keys of both kinds of rows by name: one statement, as the database alone knows that order. Where
        it can (SQLite can't), it puts only as many in order as may be on the page: see `_merged`."""
        columns = ("company", "customer_id", "account")
        order = [self._direction(F(column)) for column in columns]
        nothing = Cast(Value(None), BigIntegerField())
        accounts = self.matching.accounts.annotate(account=F("pk"))
        bare = self.matching.bare.annotate(company=Lower("company_name"), customer_id=F("pk"), account=nothing)
        skipped = 0
        if connection.features.supports_slicing_ordering_in_compound:
            skipped = max(0, start - self.bare_count)
            accounts, bare = accounts.order_by(*order)[skipped:stop], bare.order_by(*order)[:stop]
        both = accounts.values_list(*columns).union(bare.values_list(*columns), all=True).order_by(*order)
        found = both[start - skipped : stop - skipped]
        return [Key(account, customer) for _company, customer, account in found]

    def _merged(self, start: int, stop: int) -> Iterator[Key]:
        """Yield accounts in their order with the customers without one among them (by time), or after them (by a column
        of accounts only).

        Of the rows before `start` at most `bare_count` are bare, so that many accounts fewer than `start` can be
        skipped in the database without reading them.
        """
        skipped = max(0, start - self.bare_count)
        by_time = self.filters.by == "changed"
        accounts = self.ordered()[skipped:stop].values_list("changed_at", "pk", "customer_id")
        order = "-changed_at" if self.filters.descending else "changed_at"
        bare = self.matching.bare.order_by(order, "-pk").values_list("changed_at", "pk")[:stop]
        sign = -1 if self.filters.descending else 1
        place: Callable[[datetime], float] = lambda at: sign * at.timestamp() if by_time else 0.0  # noqa: E731
        of_accounts = ((place(at), 0, Key(pk, customer)) for at, pk, customer in accounts)
        of_bare = ((place(at), 1, Key(None, pk)) for at, pk in bare)
        both: Iterable[tuple[float, int, Key]] = heapq.merge(of_accounts, of_bare, key=lambda each: each[:2])
        return (key for _place, _rank, key in islice(both, start - skipped, stop - skipped))


def list_page(filters: CustomerFilters, number: str) -> LongPage:
    """Return one page of the list. For a page that does not exist, the nearest that is known to."""
    return long_page(Lines(filters), number, filters.size)


def rows_of_accounts(public_ids: list[uuid.UUID]) -> list[CustomerRow]:
    """Return the rows of accounts, for a list that polls while operations run."""
    found = Account.objects.filter(public_id__in=public_ids).values_list("pk", "customer_id")
    connections = {each.pk: each for each in Connection.objects.all()}
    return rows_of([Key(*each) for each in found], connections)


def moving_accounts(rows: Iterable[CustomerRow]) -> list[tuple[str, int]]:
    return [(row.key, row.moves) for row in rows if row.moves]


_ACCOUNT_COLUMNS = (
    "pk",
    "public_id",
    "connection_id",
    "provider_id",
    "state",
    "state_raw",
    "is_test",
    "package",
    "settings",
    "desired_settings",
    "usage_used",
    "usage_allowed",
    "usage_read_at",
    "usage_missing_since",
    "changed_at",
    "changed_what",
)
_CUSTOMER_COLUMNS = ("pk", "public_id", "company_name", "email", "owner__name", "created_at", "changed_at")
_OF_CUSTOMER = tuple(f"customer__{column}" for column in ("company_name", "email", "owner__name"))


@consistent_read()
def rows_of(keys: list[Key], connections: dict[int, Connection]) -> list[CustomerRow]:
    """Return the rows of `keys` in their order. A row that was removed meanwhile is left out."""
    of_accounts = Account.objects.order_by().filter(pk__in=[key.account for key in keys if key.account])
    accounts = {row["pk"]: row for row in of_accounts.values(*_ACCOUNT_COLUMNS, *_OF_CUSTOMER)}
    of_bare = Customer.objects.order_by().filter(pk__in=[key.customer for key in keys if not key.account])
    bare = {row["pk"]: row for row in of_bare.values(*_CUSTOMER_COLUMNS)}
    running, held = _open_operations(list(accounts)), holds.held(accounts)
    account_url, customer_url = _urls("customers:account"), _urls("customers:detail")
    select = _("Select %(name)s")
    rows = []
    for key in keys:
        if account := accounts.get(key.account or 0):
            row = _account_row(account, connections[account["connection_id"]], running.get(account["pk"]))
            row.url, row.held = account_url(account["public_id"]), account["pk"] in held
            row.select = select % {"name": row.company}
        elif not key.account and (customer := bare.get(key.customer)):
            row = _customer_row(customer)
            row.url = customer_url(customer["public_id"])
        else:
            continue
        rows.append(row)
    return rows


def _open_operations(accounts: list[int]) -> dict[int, tuple[str, str]]:
    """Return the first open operation of each account: kind and state."""
    found = Operation.objects.filter(account__in=accounts, state__in=OPEN).order_by("-pk")
    return {account: (kind, state) for account, kind, state in found.values_list("account_id", "kind", "state")}


def _urls(route: str) -> Callable[[uuid.UUID], str]:
    """Return the URLs of rows: `reverse` runs once for the page and not once for the row."""
    pattern = reverse(route, args=[_NOWHERE])
    return lambda public_id: pattern.replace(str(_NOWHERE), str(public_id))


def _customer_row(customer: dict[str, Any]) -> CustomerRow:
    return CustomerRow(
        key=f"c-{customer['public_id']}",
        company=visible_name(customer["company_name"]),
        email=customer["email"],
        owner=customer["owner__name"] or "",
        changed_at=customer["changed_at"],
        changed_what=_("Customer added") if _is_new(customer) else _("Details changed"),
    )


def _is_new(customer: dict[str, Any]) -> bool:
    return bool(customer["changed_at"] - customer["created_at"] < timedelta(seconds=1))


def _account_row(account: dict[str, Any], connection: Connection, operation: tuple[str, str] | None) -> CustomerRow:
    row = CustomerRow(
        key=str(account["public_id"]),
        company=visible_name(account["customer__company_name"]),
        email=account["customer__email"],
        owner=account["customer__owner__name"] or "",
        connection=str(connection),
        provider_label=connection.provider_label,
    )
    row.provider_id = account["provider_id"] or ""
    row.state, row.state_raw, row.is_test = account["state"], account["state_raw"], account["is_test"]
    if row.state == AccountState.PENDING and not row.provider_id and operation is None:
        row.state = NOT_CREATED
    row.package, row.package_label = account["package"], catalogue.offering_label(account["package"])
    if connection.capabilities.settings:
        cap = cap_of(account["settings"], account["desired_settings"])
        row.package_label, row.unlimited = cap_text(cap, short=True), cap == 0
    _add_use(row, account)
    row.changed_at, row.changed_what = account["changed_at"], account["changed_what"]
    if operation:
        kind, state = operation
        words = str(operation_look(state).word)
        row.changed_what = f"{OperationKind(kind).label}, {words[:1].lower()}{words[1:]}"
        row.moves = 20 if state in WAITS_FOR_A_PERSON else 2
    return row


def _add_use(row: CustomerRow, account: dict[str, Any]) -> None:
    """Add the usage. A missing reading is never a zero, and an old figure is not shown as today's."""
    if row.state == AccountState.PENDING:
        row.instead = _("Not created yet")
    elif row.state == NOT_CREATED:
        row.instead = _("Not created")
    elif row.state == AccountState.DELETED:
        row.instead, row.package_label = _("Deleted"), _("None")
    elif account["usage_read_at"] is None or account["usage_missing_since"]:
        row.since = account["usage_missing_since"] or account["usage_read_at"]
    else:
        row.used, row.allowed, row.read_at = account["usage_used"], account["usage_allowed"], account["usage_read_at"]
