"""Readings and figures of a seeded portal, their sums and the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from billing.models import (
    FigureVersion,
    Ledger,
    LedgerBatch,
    MonthTotal,
    Status,
    UsagePeriod,
    UsageRollup,
    UsageSnapshot,
)
from billing.usage.rollups import SUMS
from customers.models import Account
from portal.demo.seed.customers import stored_time
from portal.demo.seed.plan import (
    BATCHES,
    POOLED,
    READINGS,
    Plan,
    anchor,
    chance,
    connection_of,
    package,
    public_id,
    used,
)
from portal.demo.seed.rows import Rows


@dataclass(frozen=True)
class ReadingDay:
    """The billing periods that end on one day of a month, and one reading of each. `key`: that of the first reading."""

    month: int
    day: int
    start_on: date
    end_on: date
    at: datetime
    part: int
    key: int


class Figure(NamedTuple):
    account: int
    cycle: ReadingDay
    status: str
    used: int
    quota: int
    batch: int
    reading: int


def store_figures(rows: Rows, plan: Plan) -> None:
    accounts = Account.objects.order_by("pk").values_list("pk", flat=True)[0] - 1
    groups: dict[int, list[int]] = {}
    for n in range(1, plan.accounts + 1):
        groups.setdefault(anchor(n), []).append(n)
    cycles = _cycles(plan, groups, rows.first_key(UsageSnapshot))
    rows.store(UsageSnapshot, _SNAPSHOT, _snapshots(plan, cycles, groups, accounts))
    figures = _Figures(plan, sorted(_last_readings(cycles), key=lambda each: each.end_on), groups, accounts)
    first = rows.first_key(UsagePeriod)
    rows.store(UsagePeriod, _PERIOD, figures.periods(first))
    rows.store(FigureVersion, _VERSION, figures.versions(first))
    rows.add_up(UsageRollup, *_sums_of_figures())
    key = ("month", "connection_id", "currency")
    sums = {name: f"sum({name})" for name in SUMS}
    rows.add_up(MonthTotal, dict(zip(key, key, strict=True)) | sums, f"billing_usagerollup GROUP BY {', '.join(key)}")
    newest = figures.newest
    Ledger.objects.update_or_create(pk=1, defaults={"last": newest})
    begun = datetime.combine(plan.first_of(-2), time())
    rows.store(
        LedgerBatch,
        ("number", "at"),
        ((n, stored_time(begun + timedelta(days=n / BATCHES))) for n in range(1, newest + 1)),
    )


def _cycles(plan: Plan, groups: dict[int, list[int]], key: int) -> list[ReadingDay]:
    """Return the readings of all groups of accounts, in order of time."""
    found = []
    for month in range(plan.months):
        first, before = plan.first_of(month), plan.first_of(month - 1)
        of_month = []
        for day in groups:
            start = before + timedelta(days=day) if day else first
            end = first + timedelta(days=day - 1) if day else plan.first_of(month + 1) - timedelta(days=1)
            if month < plan.months - 1:
                at = datetime.combine(end, time(23, 55))
                of_month.append(ReadingDay(month, day, start, end, at, READINGS, 0))
                continue
            for part in range(1, READINGS + 1):
                on = min(start + timedelta(days=4 * part), end)
                of_month.append(ReadingDay(month, day, start, end, datetime.combine(on, time(0, 31)), part, 0))
        for cycle in sorted(of_month, key=lambda each: (each.at, each.day, each.part)):
            found.append(ReadingDay(**{**vars(cycle), "key": key}))
            key += len(groups[cycle.day])
    return found


def _last_readings(cycles: list[ReadingDay]) -> list[ReadingDay]:
    return [cycle for cycle in cycles if cycle.part == READINGS]


def _batch(plan: Plan, at: datetime, account: int) -> int:
    return 1 + (at.date() - plan.first_of(-2)).days * BATCHES + account % BATCHES


def _is_pooled(account: int) -> bool:
    return connection_of(account) == POOLED


def _package_of(account: int) -> str:
    return "" if _is_pooled(account) else package(account)[0]


_SNAPSHOT = (
    "id", "account_id", "source", "period_start_on", "period_end_on", "as_of", "used", "allowed", "overage", "requests",
    "package", "allocated_cost", "currency", "raw_sha256", "batch",
)  # fmt: skip


def _snapshots(
    plan: Plan, cycles: list[ReadingDay], groups: dict[int, list[int]], accounts: int
) -> Iterator[tuple[Any, ...]]:
    for cycle in cycles:
        start, end, at = f"{cycle.start_on}", f"{cycle.end_on}", stored_time(cycle.at)
        batch = _batch(plan, cycle.at, 0)
        for key, n in enumerate(groups[cycle.day], cycle.key):
            so_far, quota, pooled = used(n, cycle.month) * cycle.part // READINGS, package(n)[1], _is_pooled(n)
            yield (
                key,
                accounts + n,
                "pooled" if pooled else "credits",
                start,
                end,
                at,
                so_far,
                quota,
                None if pooled else max(0, so_far - quota),
                cycle.part,
                _package_of(n),
                so_far * 100 if pooled else None,
                "EUR" if pooled else "",
                public_id("raw", key),
                batch + n % BATCHES,
            )


_FIGURE = (
    "month", "start_on", "end_on", "status", "reason", "used", "high", "allowed", "overage", "overage_high",
    "allocated_cost", "currency", "package", "read_at",
)  # fmt: skip
_PERIOD = (
    "id", "account_id", *_FIGURE, "reported_start_on", "ends_at", "current_id", "latest_id", "next_seen_at",
    "days_read", "readings", "version", "batch",
)  # fmt: skip
_VERSION = ("period_id", "account_id", *_FIGURE, "n", "from_batch", "to_batch", "at", "cause")
_REASONS = {
    "final": "read_after_end",
    "derived": "calibrated",
    "interval": "not_read_to_end",
    "disputed": "undecided",
}


@dataclass
class _Figures:
    """The figures of all billing periods, in the order of their ends."""

    plan: Plan
    cycles: list[ReadingDay]
    groups: dict[int, list[int]]
    accounts: int
    newest: int = 0

    def periods(self, first: int) -> Iterator[tuple[Any, ...]]:
        for key, figure in enumerate(self._each(), first):
            cycle, is_open = figure.cycle, figure.status in ("open", "stale")
            ends_at = cycle.end_on + timedelta(days=1)
            reading = None if figure.status == "missing" else figure.reading
            batch = self._last_batch(figure)
            self.newest = max(self.newest, batch)
            yield (
                key,
                self.accounts + figure.account,
                *self._values(figure),
                f"{cycle.start_on}",
                f"{ends_at} 00:00:00",
                reading,
                reading,
                None if is_open else f"{ends_at} 00:31:00",
                1,
                1,
                self._versions(figure),
                batch,
            )

    def versions(self, first: int) -> Iterator[tuple[Any, ...]]:
        for key, figure in enumerate(self._each(), first):
            count, batch = self._versions(figure), self._last_batch(figure)
            if not count:
                continue
            values, ends_at = self._values(figure), datetime.combine(figure.cycle.end_on + timedelta(days=1), time())
            for n in range(1, count + 1):
                began, ended = (batch - BATCHES * 4, batch) if n < count else (batch, None)
                at = stored_time(ends_at + timedelta(hours=9 * n))
                cause = "period_over" if n == 1 else "statistics"
                yield (key, self.accounts + figure.account, *values, n, began, ended, at, cause)

    def _each(self) -> Iterator[Figure]:
        for cycle in self.cycles:
            day = cycle.start_on.toordinal()
            batch = _batch(self.plan, cycle.at, 0)
            is_open = cycle.end_on >= self.plan.last
            for reading, n in enumerate(self.groups[cycle.day], cycle.key):
                status = _status(chance(n, day, 3), is_open=is_open)
                yield Figure(n, cycle, status, used(n, cycle.month), package(n)[1], batch + n % BATCHES, reading)

    def _versions(self, figure: Figure) -> int:
        if figure.status in ("open", "stale"):
            return 0
        return 2 if figure.account % 25 == 0 else 1

    def _last_batch(self, figure: Figure) -> int:
        return figure.batch + (0, BATCHES, BATCHES * 5)[self._versions(figure)]

    def _values(self, figure: Figure) -> tuple[Any, ...]:
        n, cycle, status, sent, quota = figure[:5]
        about = f"{cycle.end_on:%Y-%m}-01", f"{cycle.start_on}", f"{cycle.end_on}", status, _REASONS.get(status, "")
        if status == "missing":
            return (*about, None, None, None, None, None, None, "", _package_of(n), None)
        pooled, high = _is_pooled(n), _high(figure)
        return (
            *about,
            sent,
            high,
            quota,
            None if pooled else max(0, sent - quota),
            None if pooled or high is None else max(0, high - quota),
            sent * 100 if pooled else None,
            "EUR" if pooled else "",
            _package_of(n),
            stored_time(cycle.at),
        )


def _status(of_thousand: int, *, is_open: bool) -> str:
    if is_open:
        return "stale" if of_thousand < 12 else "open"
    bounds = ((15, "missing"), (20, "disputed"), (200, "interval"), (320, "derived"))
    return next((status for bound, status in bounds if of_thousand < bound), "final")


def _high(figure: Figure) -> int | None:
    match figure.status:
        case "final" | "derived":
            return figure.used
        case "interval":
            return None if figure.account % 9 == 0 else figure.used + figure.used // 50
        case "disputed":
            return figure.used * 2
    return None


def _sums_of_figures() -> tuple[dict[str, str], str]:
    """Return the columns of roll-ups, and what they are made of."""
    over = "status NOT IN ('open', 'stale')"
    sums = {
        "figures": "count(*)",
        **{str(status): f"count(*) FILTER (WHERE status = '{status}')" for status in Status.values},
        "used": "coalesce(sum(used), 0)",
        "width": f"coalesce(sum(high - used) FILTER (WHERE {over}), 0)",
        "endless": f"count(*) FILTER (WHERE {over} AND high IS NULL AND status <> 'missing')",
        "overage": "coalesce(sum(overage), 0)",
        "overage_width": f"coalesce(sum(overage_high - overage) FILTER (WHERE {over}), 0)",
        "allocated_cost": "coalesce(sum(allocated_cost), 0)",
    }
    if sums.keys() != set(SUMS):
        raise ValueError(f"the sums of a roll-up are others now: {sums.keys() ^ set(SUMS)}")
    key = ("month", "connection_id", "customer_id", "package", "currency")
    table = (
        "(SELECT p.*, a.connection_id, a.customer_id FROM billing_usageperiod p"
        " JOIN customers_account a ON a.id = p.account_id) p"
    )
    return dict(zip(key, key, strict=True)) | sums, f"{table} GROUP BY {', '.join(key)}"
