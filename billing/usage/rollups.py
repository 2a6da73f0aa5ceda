"""Roll-ups: sums per month, connection, customer and package, recomputed for the customers whose figures changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from django.db import connection as database
from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce

from billing.models import NOT_OVER, MonthTotal, Status, UsagePeriod, UsageRollup
from billing.usage.ledger import next_batch

TOGETHER = 2000
KEY = ("month", "account__connection", "account__customer", "package", "currency")
COUNTS = ("figures", *Status.values)
SUMS = (*COUNTS, "used", "width", "endless", "overage", "overage_width", "allocated_cost")
# Columns of a roll-up that have another name in the query of `sums_of`.
_COLUMN_OF = {
    "connection_id": "account__connection",
    "customer_id": "account__customer",
    "used": "sum_used",
    "width": "sum_width",
    "overage": "sum_overage",
    "overage_width": "sum_overage_width",
    "allocated_cost": "sum_cost",
    **{str(status): f"n_{status}" for status in Status.values},
}


def sums_of(periods: QuerySet[UsagePeriod], *key: str) -> list[dict[str, Any]]:
    """Return the sums of these figures by `key`."""
    return list(summed(periods, *key))


def summed(periods: QuerySet[UsagePeriod], *key: str) -> QuerySet[UsagePeriod, dict[str, Any]]:
    """Return the query of `sums_of`, which can be sorted and paged."""
    over = ~Q(status__in=NOT_OVER)
    zero = Value(0)
    found: QuerySet[UsagePeriod, dict[str, Any]] = (
        periods.order_by()
        .values(*key)
        .annotate(
            figures=Count("pk"),
            **{f"n_{status}": Count("pk", filter=Q(status=status)) for status in Status.values},
            sum_used=Coalesce(Sum("used"), zero),
            sum_width=Coalesce(Sum(F("high") - F("used"), filter=over), zero),
            endless=Count("pk", filter=over & Q(high=None) & ~Q(status=Status.MISSING)),
            sum_overage=Coalesce(Sum("overage"), zero),
            sum_overage_width=Coalesce(Sum(F("overage_high") - F("overage"), filter=over), zero),
            sum_cost=Sum("allocated_cost"),
        )
    )
    return found


def refresh(changed: Iterable[tuple[date, int]]) -> None:
    """Recompute the roll-ups of these months and customers, and move the totals of their months by the difference.

    Needs the ledger's lock: then no other transaction moves the same totals.
    """
    by_month: dict[date, set[int]] = defaultdict(set)
    for month, customer in changed:
        by_month[month].add(customer)
    for month, customers in sorted(by_month.items()):
        ordered = sorted(customers)
        for start in range(0, len(ordered), TOGETHER):
            _refresh_month(month, ordered[start : start + TOGETHER])


def _refresh_month(month: date, customers: list[int]) -> None:
    rows = UsageRollup.objects.filter(month=month, customer__in=customers)
    moved: dict[tuple[int, str], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    _add(moved, rows, sign=-1)
    rows.delete()
    _store(UsagePeriod.objects.filter(month=month, account__customer__in=customers, account__duplicate_of=None))
    _add(moved, rows, sign=1)
    _move_totals(month, moved)


def _add(moved: dict[tuple[int, str], dict[str, Any]], rows: QuerySet[UsageRollup], *, sign: int) -> None:
    """Add the sums of roll-ups, or subtract them, by connection and currency."""
    sums = {f"sum_{name}": Sum(name) for name in SUMS}
    found = rows.order_by().values("connection", "currency").annotate(**sums)
    for at, currency, *values in found.values_list("connection", "currency", *sums):
        for name, n in zip(SUMS, values, strict=True):
            moved[at, currency][name] += sign * n


def _store(periods: QuerySet[UsagePeriod]) -> None:
    """Add the roll-ups of these figures. The database adds up and stores in one statement: rows that pass through
    Python cost three times as much, and every stored reading waits for this."""
    statement, params = summed(periods, *KEY).query.sql_with_params()
    names = {name: name for name in ("month", "package", "currency", "figures", "endless")} | _COLUMN_OF
    columns = ", ".join(f'"{name}"' for name in names)
    sums = ", ".join(f'COALESCE("{name}", 0)' if name == "sum_cost" else f'"{name}"' for name in names.values())
    with database.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {UsageRollup._meta.db_table} ({columns}) SELECT {sums} FROM ({statement}) sums",  # noqa: S608 compiled by Django
            params,
        )


def _move_totals(month: date, moved: Mapping[tuple[int, str], dict[str, Any]]) -> None:
    found = {(row.connection_id, row.currency): row for row in MonthTotal.objects.filter(month=month)}
    for (connection, currency), by in moved.items():
        if not any(by.values()):
            continue
        total = found.get((connection, currency))
        if total is None:
            facts = dict.fromkeys(SUMS, 0) | by
            MonthTotal.objects.create(month=month, connection_id=connection, currency=currency, **facts)
            continue
        for name, n in by.items():  # added here: an amount of money can't be calculated with in a query
            setattr(total, name, getattr(total, name) + n)
        total.save(update_fields=SUMS)


def _rollup(found: dict[str, Any]) -> UsageRollup:
    return UsageRollup(
        month=found["month"],
        connection_id=found["account__connection"],
        customer_id=found["account__customer"],
        package=found["package"],
        currency=found["currency"],
        figures=found["figures"],
        used=found["sum_used"],
        width=found["sum_width"],
        endless=found["endless"],
        overage=found["sum_overage"],
        overage_width=found["sum_overage_width"],
        allocated_cost=found["sum_cost"] or 0,
        **{status: found[f"n_{status}"] for status in Status.values},
    )


def follow_customers(customers: Collection[int]) -> None:
    """Add up the usage of these customers (pk) again: an account moved, or was marked as a duplicate. Needs a
    transaction that holds the locks of the accounts."""
    next_batch()
    read = UsagePeriod.objects.filter(account__customer__in=customers).values_list("month", "account__customer")
    stored = UsageRollup.objects.filter(customer__in=customers).values_list("month", "customer")
    refresh({*read, *stored})


def rebuild() -> None:
    """Add up everything again. Needs the ledger's lock."""
    UsageRollup.objects.all().delete()
    MonthTotal.objects.all().delete()
    changed = UsagePeriod.objects.values_list("month", "account__customer").distinct()
    refresh(changed.order_by("month"))


def are_built() -> bool:
    """Return False after an upgrade from a release without roll-ups, until the first `rebuild`."""
    return MonthTotal.objects.exists() or not UsagePeriod.objects.exists()


def wrong_sums() -> Iterator[str]:
    """Yield every month, customer or connection whose stored sums differ from those of the figures."""
    if not are_built():
        return
    figures = UsagePeriod.objects.filter(account__duplicate_of=None)
    right = {_key(row): _sums(row) for row in map(_rollup, sums_of(figures, *KEY))}
    stored = {_key(row): _sums(row) for row in UsageRollup.objects.iterator()}
    for key in sorted(right.keys() | stored.keys(), key=str):
        if right.get(key) != stored.get(key):
            where = f"{key[0]:%Y-%m}, customer {key[2]}, connection {key[1]}"
            yield f"{where}: {stored.get(key)} instead of {right.get(key)}"
    totals: dict[tuple[date, int, str], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for (month, connection, _, _, currency), sums in right.items():
        for name, n in sums.items():
            totals[month, connection, currency][name] += n
    kept = {(row.month, row.connection_id, row.currency): _sums(row) for row in MonthTotal.objects.iterator()}
    nothing = dict.fromkeys(SUMS, 0)
    for of in sorted(totals.keys() | kept.keys(), key=str):
        if totals.get(of, nothing) != kept.get(of, nothing):
            yield f"{of[0]:%Y-%m}, connection {of[1]}: totals {kept.get(of)} instead of {totals.get(of)}"


def _key(row: UsageRollup) -> tuple[date, int, int, str, str]:
    return (row.month, row.connection_id, row.customer_id, row.package, row.currency)


def _sums(row: UsageRollup | MonthTotal) -> dict[str, Any]:
    return {name: getattr(row, name) for name in SUMS}
