"""Queries of the home page: what needs review, worst first, and what is in progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import F, FloatField, QuerySet
from django.db.models.functions import Cast

from customers.models import Account, Connection, Customer, Operation
from customers.models.account import LISTED, OVER_QUOTA, AccountState
from customers.models.breaker import is_out_of_reach
from customers.models.operation_states import OPEN
from customers.operations.queries import NEEDS_A_PERSON

SHOWN = 6
COUNTED = 999


@dataclass(frozen=True)
class Group:
    """Up to `SHOWN` rows of one kind, and how many there are (counted up to a bound)."""

    rows: list[Any] = field(default_factory=list)
    count: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def more(self) -> int:
        return self.count - len(self.rows)

    @property
    def count_text(self) -> str:
        return str(self.count) if self.count <= COUNTED else f"{COUNTED}+"


@dataclass(frozen=True)
class Home:
    decide: Group
    paused: list[Connection]
    unreachable: list[Connection]
    over: Group
    unread: Group
    stopped: Group
    running: Group
    any_connection: bool
    any_customer: bool

    @property
    def quiet(self) -> bool:
        return not (self.decide or self.paused or self.unreachable or self.over or self.unread or self.stopped)


def home_page() -> Home:
    """Return the page's data. The number of queries does not depend on how much there is."""
    operations = Operation.objects.select_related("account__customer", "connection", "requested_by")
    accounts = Account.objects.select_related("customer", "connection").filter(LISTED, duplicate_of=None)
    connections = list(Connection.objects.select_related("breaker"))
    return Home(
        decide=_group(operations.filter(NEEDS_A_PERSON).order_by("created_at")),
        paused=[each for each in connections if each.paused],
        unreachable=[each for each in connections if not each.paused and is_out_of_reach(each)],
        over=_group(accounts.filter(quota_level=OVER_QUOTA).order_by(_share().desc())),
        unread=_group(accounts.filter(usage_is_late=True).order_by(F("usage_read_at").asc(nulls_first=True))),
        stopped=_group(
            accounts.filter(state__in=(AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED)).order_by("-changed_at")
        ),
        running=running_now(),
        any_connection=bool(connections),
        any_customer=Customer.objects.exists(),
    )


def running_now() -> Group:
    operations = Operation.objects.select_related("account__customer", "connection", "requested_by")
    return _group(operations.filter(state__in=OPEN).exclude(NEEDS_A_PERSON).order_by("created_at"))


def _share() -> Any:
    return Cast("usage_used", FloatField()) / Cast("usage_allowed", FloatField())


def _group(found: QuerySet[Any]) -> Group:
    """Return the first rows and their number. The keys are ordered alone: whole rows are too wide to sort many."""
    keys = list(found.values_list("pk", flat=True)[: COUNTED + 1])
    rows = found.order_by().in_bulk(keys[:SHOWN])
    return Group([rows[key] for key in keys[:SHOWN] if key in rows], len(keys))
