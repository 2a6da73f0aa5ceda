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
from portal.counting import counts_of

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
    connections: list[Connection]
    any_customer: bool

    @property
    def any_connection(self) -> bool:
        return bool(self.connections)

    @property
    def quiet(self) -> bool:
        return not (self.decide or self.paused or self.unreachable or self.over or self.unread or self.stopped)


def home_page() -> Home:
    """Return the page's data. The number of queries does not depend on how much there is."""
    accounts = Account.objects.filter(LISTED, duplicate_of=None)
    connections = list(Connection.objects.select_related("breaker"))
    decide, running, over, unread, stopped = _groups(
        Operation.objects.filter(NEEDS_A_PERSON).order_by("created_at"),
        _running(),
        accounts.filter(quota_level__gte=OVER_QUOTA).order_by(F("quota_level").desc(nulls_last=True), _share().desc()),
        accounts.filter(usage_is_late=True).order_by(F("usage_read_at").asc(nulls_first=True)),
        accounts.filter(state__in=(AccountState.STOPPED_BY_PROVIDER, AccountState.BANNED)).order_by("-changed_at"),
    )
    return Home(
        decide=decide,
        paused=[each for each in connections if each.paused],
        unreachable=[each for each in connections if not each.paused and is_out_of_reach(each)],
        over=over,
        unread=unread,
        stopped=stopped,
        running=running,
        connections=connections,
        any_customer=any((decide, running, over, unread, stopped)) or Customer.objects.exists(),
    )


def running_now() -> Group:
    [running] = _groups(_running())
    return running


def _running() -> QuerySet[Operation]:
    return Operation.objects.filter(state__in=OPEN).exclude(NEEDS_A_PERSON).order_by("created_at")


def _share() -> Any:
    return Cast("usage_used", FloatField()) / Cast("usage_allowed", FloatField())


# What the page shows of a few rows of wide tables.
_OF_OPERATION = ("public_id", "kind", "state", "created_at", "account__customer__company_name", "connection__name")
_OF_ACCOUNT = ("public_id", "state", "state_raw", "provider_id", "changed_at", "customer__company_name")
_SHOWN_OF: dict[Any, QuerySet[Any]] = {
    Operation: Operation.objects.select_related("account__customer", "connection", "requested_by").only(
        *_OF_OPERATION, "requested_by__name", "requested_by__email"
    ),
    Account: Account.objects.select_related("customer", "connection").only(
        *_OF_ACCOUNT, "connection__name", "connection__kind", "usage_used", "usage_allowed", "usage_read_at"
    ),
}


def _groups(*lists: QuerySet[Any]) -> list[Group]:
    """Return the first rows of each list, and how many it has. The numbers are one statement, the rows one for each
    kind; what finds the first keys reads keys alone, as whole rows are too wide to sort many."""
    counts = counts_of([found.order_by().values("pk")[: COUNTED + 1] for found in lists])
    keys = [
        list(found.values_list("pk", flat=True)[:SHOWN]) if n else [] for found, n in zip(lists, counts, strict=True)
    ]
    rows: dict[Any, dict[int, Any]] = {}
    for model, every in _SHOWN_OF.items():
        wanted = [key for found, some in zip(lists, keys, strict=True) if found.model is model for key in some]
        rows[model] = every.in_bulk(wanted) if wanted else {}
    return [
        Group([rows[found.model][key] for key in some if key in rows[found.model]], n)
        for found, some, n in zip(lists, keys, counts, strict=True)
    ]
