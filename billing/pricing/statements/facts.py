"""Accounts and their billing periods in a statement month, as the database knows them.

A chunk of accounts takes the same number of queries whatever its size. Everything that a statement is rated from passes
through here, so that a digest of it tells whether anything changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet

from billing.models import ConnectionBilling, Status, UsagePeriod, UsageSnapshot
from billing.pricing.statements.ownership import Move, moves_since
from billing.pricing.statements.span_days import (
    SPAN_COLUMNS,
    SpanRow,
    ValueChange,
    billing_zone,
    changes_of,
    day_in,
    deleted_on,
)
from billing.usage.periods import DAY, LONGEST_PERIOD, Period, last_day, midnight, period_of
from customers.models import Account, AccountSpan, Connection
from customers.models.account import AccountState
from portal.providers import CAPABILITIES

# A reading of usage this long before the end of a change's uncertainty was taken because of the change.
READ_FOR_CHANGE = timedelta(minutes=10)
UNCLEAR_STATES = frozenset({AccountState.UNKNOWN, AccountState.INDETERMINATE})


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """How a connection is billed. `has_offerings`: its accounts have packages and add-ons."""

    pk: int
    name: str
    kind: str
    has_offerings: bool
    zone: str
    starts_on: date | None
    cost_source: str
    cost_list: int | None

    @property
    def as_rated(self) -> tuple[Any, ...]:
        """The facts that decide amounts of its accounts, whatever they cost."""
        return self.pk, self.kind, self.zone, self.starts_on


class PeriodRow(NamedTuple):
    """A figure as rated. `pk` None: the account was never read in this period, and its dates are inferred."""

    pk: int | None
    account: int
    start_on: date
    end_on: date
    reported_start_on: date
    status: str
    used: int | None
    high: int | None
    allowed: int | None
    package: str


_PERIOD = ("pk", "account", "start_on", "end_on", "reported_start_on", "status", "used", "high", "allowed", "package")


class UsageAt(NamedTuple):
    as_of: datetime
    used: int


@dataclass(slots=True)
class AccountFacts:
    """An account with its billing periods of the month, oldest first, and its values by day."""

    pk: int
    public_id: UUID
    customer: int
    connection: ConnectionFacts
    is_test: bool
    label: str
    periods: list[PeriodRow] = field(default_factory=list)
    spans: dict[str, list[SpanRow]] = field(default_factory=dict)
    readings: dict[date, list[UsageAt]] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()

    def changes(self, kind: AccountSpan.Kind) -> list[ValueChange]:
        return changes_of(self.spans.get(kind, ()), billing_zone(self.connection.zone))

    @property
    def as_rated(self) -> tuple[Any, ...]:
        """Everything that may decide an amount, for a digest."""
        return (
            self.pk, self.customer, self.connection.as_rated, self.is_test, self.periods, self.spans, self.readings,
            self.moves,
        )  # fmt: skip


class World:
    """Facts that all accounts of a month share: connections, their billing, and moves between customers."""

    def __init__(self, month: date, *, now: datetime) -> None:
        self.month, self.today = month, now.astimezone(UTC).date()
        self.connections = _connections()
        self.moves = moves_since(midnight(month - LONGEST_PERIOD))

    def moved(self, accounts: Iterable[int]) -> dict[int, tuple[Move, ...]]:
        return {pk: self.moves[pk] for pk in accounts if pk in self.moves}


def _connections() -> dict[int, ConnectionFacts]:
    billings = {row.connection_id: row for row in ConnectionBilling.objects.all()}
    found = {}
    for pk, name, kind in Connection.objects.values_list("pk", "name", "kind"):
        billing = billings.get(pk) or ConnectionBilling()
        has_offerings = CAPABILITIES[kind].offerings
        source, cost_list = str(billing.cost_source), billing.cost_list_id
        found[pk] = ConnectionFacts(pk, name, kind, has_offerings, billing.zone, billing.starts_on, source, cost_list)
    return found


def bare_facts(accounts: QuerySet[Account], world: World) -> dict[int, AccountFacts]:
    """Return the accounts that exist at a provider by key, in its order, without periods, values and readings."""
    columns = ("pk", "public_id", "customer", "connection", "is_test", "provider_id")
    return {
        pk: AccountFacts(
            pk, public_id, customer, world.connections[connection], is_test, provider_id or "",
            moves=world.moves.get(pk, ()),
        )
        for pk, public_id, customer, connection, is_test, provider_id in accounts.filter(duplicate_of=None)
        .exclude(provider_id=None)
        .order_by("pk")
        .values_list(*columns)
    }  # fmt: skip


def account_facts(accounts: QuerySet[Account], world: World) -> list[AccountFacts]:
    """Return those of `accounts` that have a billing period in the month, in their order by key."""
    found = bare_facts(accounts, world)
    for row in map(PeriodRow._make, _periods(found, world.month)):
        found[row.account].periods.append(row)
    add_spans(found, world)
    _add_periods_never_read([each for each in found.values() if not each.periods], world)
    found = {pk: each for pk, each in found.items() if each.periods}
    for each in found.values():
        leave_out_older_spans(each)
    add_readings(found.values())
    return list(found.values())


def _periods(accounts: Collection[int], month: date) -> QuerySet[UsagePeriod, tuple[Any, ...]]:
    rows = UsagePeriod.objects.filter(month=month, account__in=list(accounts))
    return rows.order_by("account", "start_on").values_list(*_PERIOD)


def add_spans(accounts: Mapping[int, AccountFacts], world: World) -> None:
    """Add the spans that may have been in force in the month's billing periods, wherever these begin: also in one that
    was never read. Of states all are read: one that could not be told lets the one before continue, however old."""
    starts = [period.start_on for each in accounts.values() for period in each.periods]
    start = min([world.month - LONGEST_PERIOD, *starts]) - DAY
    end = last_day(world.month) + 2 * DAY
    rows = AccountSpan.objects.filter(
        Q(from_at=None) | Q(from_at__lt=midnight(end)),
        Q(until_at=None) | Q(until_at__gt=midnight(start)) | Q(kind=AccountSpan.Kind.STATE),
        account__in=list(accounts),
        seen_at__lt=midnight(end),
    )
    for row in map(SpanRow._make, rows.order_by("account", "pk").values_list(*SPAN_COLUMNS)):
        known = accounts[row.account].spans.setdefault(row.kind, [])
        if not (known and row.kind == AccountSpan.Kind.STATE and row.value in UNCLEAR_STATES):
            known.append(row)


def leave_out_older_spans(account: AccountFacts) -> None:
    """Leave out what ended before the account's own periods: which accounts are read together decides nothing."""
    start = midnight(account.periods[0].start_on - DAY)
    for kind, rows in account.spans.items():
        older = sum(1 for row in rows[1:] if row.seen_at <= start)
        account.spans[kind] = rows[older:]


def _add_periods_never_read(accounts: list[AccountFacts], world: World) -> None:
    """Add the billing period that an account without a figure had in the month: its base is due all the same.

    The period follows from the one known before it, or precedes the one after it; else it is the calendar month. One
    that would overlap a known one, because the provider restarted the periods, is none.
    """
    known = _known_periods(accounts, world.month)
    for each in accounts:
        periods = known.get(each.pk, [])
        period = _period_in(world.month, periods)
        overlaps = any(one.start_on <= period.end_on and period.start_on <= one.end_on for one in periods)
        if period.month == world.month and not overlaps and existed(each, period, world):
            each.periods.append(_never_read(each.pk, period))


def _never_read(account: int, period: Period) -> PeriodRow:
    start, end = period.start_on, period.end_on
    return PeriodRow(None, account, start, end, start, Status.MISSING, None, None, None, "")


def _period_in(month: date, known: list[Period]) -> Period:
    """Return the period that would end in the month."""
    before = [each for each in known if each.end_on < month]
    nearest = before[-1] if before else next(iter(known), None)
    period = period_of(None, None, known=nearest, on=last_day(month))
    return period if period.month == month else period_of(None, None, known=nearest, on=period.start_on - DAY)


def _known_periods(accounts: list[AccountFacts], month: date) -> dict[int, list[Period]]:
    """Return by account its periods around the month, the oldest first."""
    near = 3 * LONGEST_PERIOD
    rows = UsagePeriod.objects.filter(
        account__in=[each.pk for each in accounts], month__gte=month - near, month__lte=month + near
    ).order_by("account", "start_on")
    found: dict[int, list[Period]] = defaultdict(list)
    for pk, start, end in rows.values_list("account", "start_on", "end_on"):
        found[pk].append(Period(start, end))
    return found


def existed(account: AccountFacts, period: Period, world: World) -> bool:
    """Return whether spans show that the account existed in the period. Without any, nothing is known of it."""
    states = account.changes(AccountSpan.Kind.STATE)
    if not states or period.start_on > world.today:
        return False
    gone = deleted_on(states)
    begun = next((each.on for each in states if each.value != AccountState.PENDING), None)
    return begun is not None and begun <= period.end_on and (gone is None or gone >= period.start_on)


def add_readings(accounts: Iterable[AccountFacts]) -> None:
    """Add readings of usage to accounts whose offerings changed within a period."""
    changed = {}
    for each in accounts:
        zone = billing_zone(each.connection.zone)
        days = [day_in(row.seen_at, zone) for row in each.spans.get(AccountSpan.Kind.OFFERINGS, ())[1:]]
        for period in each.periods:
            if any(period.start_on <= day <= period.end_on for day in days):
                changed[each.pk, period.reported_start_on] = each
    if not changed:
        return
    rows = UsageSnapshot.objects.filter(
        account__in={pk for pk, _start in changed}, period_start_on__in={start for _pk, start in changed}
    ).order_by("account", "as_of", "seq")
    for pk, start, as_of, used in rows.values_list("account", "period_start_on", "as_of", "used"):
        if account := changed.get((pk, start)):
            account.readings.setdefault(start, []).append(UsageAt(as_of, used))


def by_customer(accounts: Iterable[AccountFacts]) -> dict[int, list[AccountFacts]]:
    """Return the accounts by who owned them on the last day of their periods. An account that changed its customer
    between two periods of the month belongs to both, with one period each."""
    found: dict[int, list[AccountFacts]] = defaultdict(list)
    for each in accounts:
        if not each.moves:
            found[each.customer].append(each)
            continue
        owned: dict[int, list[PeriodRow]] = defaultdict(list)
        for period in each.periods:
            owned[owner_on(each, period.end_on)].append(period)
        for customer, periods in owned.items():
            found[customer].append(
                AccountFacts(
                    each.pk, each.public_id, customer, each.connection, each.is_test, each.label, periods, each.spans,
                    each.readings, each.moves,
                )
            )  # fmt: skip
    return found


def owner_on(account: AccountFacts, day: date) -> int:
    """Return the customer that owned the account at the end of a day."""
    zone = billing_zone(account.connection.zone)
    end = datetime.combine(day + DAY, time(), tzinfo=zone)
    later = [move for move in account.moves if move.at >= end]
    return later[0].before if later and later[0].before else account.customer
