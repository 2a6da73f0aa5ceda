"""Usage to decide: open anomalies by cause, and figures that will not become exact by themselves, as one list.

The database sorts and cuts the list; the number of queries doesn't depend on the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import BigIntegerField, Case, Count, F, Max, Min, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce, Greatest

from billing.models import UNDECIDED, Anomaly, Decision, Status, UsagePeriod
from billing.money import Sum as Amount
from billing.money import trimmed
from billing.usage.assess import Reason
from billing.usage.duplicates import no_duplicates
from billing.usage.periods import last_day
from billing.worklist.filters import FIGURES, ME, NOBODY, DecidedFilters, WorklistFilters
from customers.models import Account, Connection
from portal.access.models import User
from portal.money_field import ScaledDecimalField

PER_PAGE = 50
# The count beside the navigation ends here: more than anyone decides in a day.
MOST_COUNTED = 99
ANOMALIES, FIGURE = 0, 1
# Reports and their shares are the same emails twice: the greater of the two sums.
_SIZE = Greatest(
    Coalesce(Sum("effect", filter=Q(snapshot__isnull=False)), Value(0)),
    Coalesce(Sum("effect", filter=Q(snapshot=None)), Value(0)),
    output_field=BigIntegerField(),
)
_COST = Greatest(
    Coalesce(Sum("effect_cost", filter=Q(snapshot__isnull=False)), Value(Decimal(), output_field=ScaledDecimalField())),
    Coalesce(Sum("effect_cost", filter=Q(snapshot=None)), Value(Decimal(), output_field=ScaledDecimalField())),
)


@dataclass(frozen=True)
class Entry:
    """One row: the anomalies of one cause, or one figure. `effect`: the emails that depend on the decision, None if
    nothing limits them; `costs`: the amounts by currency; `same_values`: all its anomalies have the values of the
    first."""

    kinds: list[str]
    connection: Connection
    account: Account | None
    accounts: int
    since: datetime
    effect: int | None
    anomaly: Anomaly | None = None
    period: UsagePeriod | None = None
    costs: list[Amount] = field(default_factory=list)
    owners: list[User] = field(default_factory=list)
    unowned: int = 0
    same_values: bool = False

    @property
    def row(self) -> str:
        """The value that the forms of the list name this row by."""
        return f"anomaly-{self.anomaly.pk}" if self.anomaly else f"figure-{self.period.pk if self.period else 0}"

    @property
    def month(self) -> date | None:
        if self.period:
            return self.period.month
        pooled = self.anomaly.pooled if self.anomaly else None
        return pooled.period_end_on.replace(day=1) if pooled else None

    @property
    def owner(self) -> User | None:
        return self.owners[0] if len(self.owners) == 1 and not self.unowned else None

    @property
    def only_cost(self) -> bool:
        """True if no number of emails depends on the decision, only what they cost."""
        return set(self.kinds) <= {Anomaly.Kind.COST_FELL, Anomaly.Kind.CURRENCY}


def open_figures(now: datetime) -> QuerySet[UsagePeriod]:
    """Return figures of billing periods that are over and that only a person can make exact."""
    undecided = Q(status=Status.MISSING) & ~Q(reason=Reason.BASE_ONLY)
    contradicted = Q(status=Status.DISPUTED, reason__in=Reason.NOT_AS_ENTERED)
    waiting = Q(status=Status.INTERVAL) | undecided | contradicted
    # Their statuses once more: the condition of the index, which neither database would conclude for certain.
    return UsagePeriod.objects.filter(no_duplicates(), waiting, status__in=UNDECIDED, ends_at__lte=now)


def open_anomalies() -> QuerySet[Anomaly]:
    return Anomaly.objects.filter(closed_at=None)


def count_to_decide(now: datetime) -> int:
    """Return the rows of the list, at most one more than is counted beside the navigation. Two short queries."""
    causes = open_anomalies().order_by().values("cause").distinct()[: MOST_COUNTED + 1].count()
    if causes > MOST_COUNTED:
        return causes
    return causes + open_figures(now).order_by()[: MOST_COUNTED + 1 - causes].count()


def worklist_page(filters: WorklistFilters, *, person: User, now: datetime) -> tuple[Page[Any], list[Entry]]:
    """Return the page of the list that the filters select, and its rows."""
    anomalies = _anomalies(filters, person)
    periods = _figures(filters, person, now)
    groups = (
        anomalies.order_by()
        .values("cause")
        .annotate(size=_SIZE, cost=_COST, begun=Min("opened_at"), rank=Value(ANOMALIES), key=Min("pk"))
    )
    figures = periods.order_by().annotate(
        size=_size_of_figure(),
        cost=Value(Decimal(), output_field=ScaledDecimalField()),
        begun=F("ends_at"),
        rank=Value(FIGURE),
        key=F("pk"),
    )
    columns = ("size", "cost", "begun", "rank", "key")
    column = {"effect": "size", "cost": "cost", "age": "begun"}[filters.sort.removeprefix("-")]
    sign = "-" if filters.sort.startswith("-") else ""
    rows = groups.values_list(*columns).union(figures.values_list(*columns), all=True)
    paginator = Paginator(rows.order_by(f"{sign}{column}", "rank", "key"), PER_PAGE)
    paginator.count = groups.count() + periods.count()  # of the parts: a union is counted by building it
    page = filters.page_of(paginator)
    keys = [(rank, key) for _size, _cost, _begun, rank, key in page.object_list]
    return page, _entries(keys)


def _anomalies(filters: WorklistFilters, person: User) -> QuerySet[Anomaly]:
    found = open_anomalies()
    if filters.lists_nothing or filters.kind in FIGURES:
        return found.none()
    if filters.kind:
        found = found.filter(kind=filters.kind)
    if filters.connection:
        found = found.filter(connection__public_id=filters.connection)
    if filters.month:
        of_report = Q(period=None, pooled__period_end_on__range=(filters.month, last_day(filters.month)))
        found = found.filter(Q(period__month=filters.month) | of_report)
    return _owned(found, filters, person)


def _figures(filters: WorklistFilters, person: User, now: datetime) -> QuerySet[UsagePeriod]:
    found = open_figures(now)
    if filters.lists_nothing or (filters.kind and filters.kind not in FIGURES):
        return found.none()
    if filters.kind:
        found = found.filter(status=filters.kind)
    if filters.connection:
        found = found.filter(account__connection__public_id=filters.connection)
    if filters.month:
        found = found.filter(month=filters.month)
    return _owned(found, filters, person)


def _owned(found: QuerySet[Any], filters: WorklistFilters, person: User) -> QuerySet[Any]:
    if filters.owner == ME:
        return found.filter(owner=person)
    return found.filter(owner=None) if filters.owner == NOBODY else found


def _size_of_figure() -> Case:
    """Return the emails between the least and the most. Where nothing limits them, the emails known so far say how
    much the account sends; where nothing is known, its quota does."""
    return Case(
        When(used=None, then=Coalesce("account__usage_allowed", Value(0))),
        When(high=None, then=F("used")),
        default=F("high") - F("used"),
        output_field=BigIntegerField(),
    )


def _entries(keys: Sequence[tuple[int, int]]) -> list[Entry]:
    groups = _groups([key for rank, key in keys if rank == ANOMALIES])
    periods = UsagePeriod.objects.select_related("account__customer", "account__connection", "owner").in_bulk(
        [key for rank, key in keys if rank == FIGURE]
    )
    found: Iterable[Entry | None] = (
        groups.get(key) if rank == ANOMALIES else _of_figure(periods[key]) if key in periods else None
        for rank, key in keys
    )
    return [entry for entry in found if entry]


def _of_figure(period: UsagePeriod) -> Entry:
    return Entry(
        kinds=[period.status],
        connection=period.account.connection,
        account=period.account,
        accounts=1,
        since=period.ends_at,
        effect=period.width,
        period=period,
        owners=[period.owner] if period.owner else [],
        unowned=0 if period.owner else 1,
    )


def _groups(heads: list[int]) -> dict[int, Entry]:
    """Return the rows of the anomalies whose first one (pk) is given. Four queries."""
    rows = Anomaly.objects.select_related(
        "account__customer", "connection", "period__account", "pooled", "snapshot"
    ).in_bulk(heads)
    causes = [row.cause for row in rows.values()]
    same = open_anomalies().filter(cause__in=causes).order_by()
    accounts = dict(same.values("cause").annotate(n=Count("account", distinct=True)).values_list("cause", "n"))
    parts: dict[str, list[Any]] = defaultdict(list)
    for part in same.values("cause", "kind").annotate(
        since=Min("opened_at"),
        whole=Coalesce(Sum("effect", filter=Q(snapshot=None)), Value(0)),
        shares=Coalesce(Sum("effect", filter=Q(snapshot__isnull=False)), Value(0)),
        whole_cost=Sum("effect_cost", filter=Q(snapshot=None)),
        shares_cost=Sum("effect_cost", filter=Q(snapshot__isnull=False)),
        currency=Max(Coalesce("snapshot__currency", "pooled__currency")),
        first_owner=Min("owner"),
        last_owner=Max("owner"),
        unowned=Count("pk", filter=Q(owner=None)),
        values=Count("after", distinct=True) * Count("before", distinct=True),
    ):
        parts[part["cause"]].append(part)
    owners = User.objects.in_bulk(
        {part[name] for each in parts.values() for part in each for name in ("first_owner", "last_owner")} - {None}
    )
    return {pk: _of_cause(row, parts[row.cause], accounts.get(row.cause, 0), owners) for pk, row in rows.items()}


def _of_cause(row: Anomaly, parts: Sequence[Any], accounts: int, owners: dict[int, User]) -> Entry:
    whole, shares = sum(each["whole"] for each in parts), sum(each["shares"] for each in parts)
    costs = []
    for each in parts:
        cost = max(each["whole_cost"] or Decimal(), each["shares_cost"] or Decimal())
        if cost:
            costs.append(Amount(each["currency"] or "", trimmed(cost), 1))
    mine = {each[name] for each in parts for name in ("first_owner", "last_owner")} - {None}
    return Entry(
        kinds=sorted({each["kind"] for each in parts}),
        connection=row.connection,
        account=row.account if accounts == 1 else None,
        accounts=accounts,
        since=min((each["since"] for each in parts), default=row.opened_at),
        effect=max(whole, shares),
        anomaly=row,
        period=row.period,
        costs=costs,
        owners=[owners[pk] for pk in sorted(mine) if pk in owners],
        unowned=sum(each["unowned"] for each in parts),
        same_values=[each["values"] for each in parts] == [1],
    )


@dataclass(frozen=True)
class Decided:
    """One decision: about the anomalies of one cause, or about a figure."""

    decision: Decision
    anomalies: int
    accounts: int
    kinds: list[str]


def decided(filters: DecidedFilters) -> tuple[Page[Any], list[Decided]]:
    """Return the page of decisions, the newest first. Those of one ledger batch are one."""
    batches = (
        Decision.objects.order_by()
        .values("batch")
        .annotate(at=Max("at"), first=Min("pk"), n=Count("anomaly"), accounts=Count("anomaly__account", distinct=True))
    )
    paginator = Paginator(batches.order_by("-batch").values_list("first", "n", "accounts"), PER_PAGE)
    paginator.count = Decision.objects.values("batch").distinct().count()
    page = filters.page_of(paginator)
    rows = list(page.object_list)
    related = (
        "by",
        "anomaly__account__customer",
        "anomaly__connection",
        "anomaly__period",
        "period__account__customer",
    )
    found = Decision.objects.select_related(*related, "anomaly__pooled").in_bulk([first for first, _n, _a in rows])
    of_batches = Decision.objects.filter(batch__in=[each.batch for each in found.values()], anomaly__isnull=False)
    kinds: dict[int, list[str]] = defaultdict(list)
    for batch, kind in of_batches.order_by("anomaly__kind").values_list("batch", "anomaly__kind").distinct():
        kinds[batch].append(str(Anomaly.Kind(kind).label))
    return page, [Decided(found[first], n, accounts, kinds[found[first].batch]) for first, n, accounts in rows]
