"""The migration of costs to `ScaledDecimalField`, and back, with rows on both engines."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Sum

from customers.models import Account
from tests.support.factories import AccountFactory

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
PERIOD = {"period_start_on": date(2026, 11, 1), "period_end_on": date(2026, 11, 30)}
BUCKETS = ("parent", "accounts", "unmapped", "removed", "total")
# Fifteen digits is what the old columns held.
_random = random.Random("costs")
COSTS = [
    *map(Decimal, ("0", "0.000001", "0.1", "0.3", "1", "66.666667", "999999999.999999", "999999999.999998", "8.5")),
    *(Decimal(_random.randrange(10 ** _random.randint(1, 15))).scaleb(-6) for _ in range(2_000)),
]


def add_rows(apps: Any, account: Account, other: Account) -> None:
    snapshot, period, pooled = (
        apps.get_model("billing", name) for name in ("UsageSnapshot", "UsagePeriod", "PooledSnapshot")
    )
    facts = {"account_id": account.pk, "source": "pooled", "used": 5, "raw_sha256": "0", **PERIOD}
    snapshot.objects.bulk_create(
        snapshot(as_of=NOW, seq=number, allocated_cost=cost, currency="EUR", **facts)
        for number, cost in enumerate(COSTS)
    )
    free = snapshot.objects.create(as_of=NOW + timedelta(hours=1), **facts)
    for owner, cost in ((account, COSTS[5]), (other, None)):
        period.objects.create(
            account_id=owner.pk, start_on=PERIOD["period_start_on"], end_on=PERIOD["period_end_on"], ends_at=NOW,
            month=date(2026, 11, 1), current=free, latest=free, used=5, allocated_cost=cost, read_at=NOW,
            unread_seconds=0,
        )  # fmt: skip
    pooled.objects.create(
        connection_id=account.connection_id, starts_at=NOW, ends_at=NOW + timedelta(days=1), as_of=NOW, currency="EUR",
        adds_up=False, raw_sha256="0", shares=[{"id": "a", "cost": "0.1"}], **PERIOD,
        **{f"{name}_count": 1 for name in BUCKETS},
        **{f"{name}_cost": COSTS[-number] for number, name in enumerate(BUCKETS, 1)},
    )  # fmt: skip


def check_rows(snapshot: Any, period: Any, pooled: Any) -> None:
    costs = list(snapshot.objects.order_by("as_of", "seq").values_list("allocated_cost", flat=True))
    assert costs == [*COSTS, None]
    assert list(period.objects.order_by("pk").values_list("allocated_cost", flat=True)) == [COSTS[5], None]
    found = pooled.objects.values(*(f"{name}_cost" for name in BUCKETS)).get()
    assert found == {f"{name}_cost": COSTS[-number] for number, name in enumerate(BUCKETS, 1)}
    for model in (snapshot, pooled):
        rows = model.objects.all()
        for change in (lambda rows=rows: rows.update(currency="USD"), lambda rows=rows: rows._raw_delete(rows.db)):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                change()


def models_of(migration: str) -> Any:
    return MigrationExecutor(connection).loader.project_state([("billing", migration)]).apps


def rows_of(migration: str) -> list[Any]:
    apps = models_of(migration)
    return [apps.get_model("billing", name) for name in ("UsageSnapshot", "UsagePeriod", "PooledSnapshot")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_costs_are_converted_exactly_in_both_directions() -> None:
    accounts = AccountFactory(), AccountFactory()  # the model of today has columns that are gone below
    call_command("migrate", "billing", "0008", verbosity=0)
    try:
        add_rows(models_of("0008_labels"), *accounts)
        call_command("migrate", "billing", "0009", verbosity=0)
        snapshots, periods, reports = rows_of("0009_scaled_costs")
        check_rows(snapshots, periods, reports)
        assert snapshots.objects.aggregate(total=Sum("allocated_cost")) == {"total": sum(COSTS)}
        with connection.cursor() as cursor:
            cursor.execute("SELECT allocated_cost FROM billing_usagesnapshot WHERE allocated_cost IS NOT NULL")
            stored = int if connection.vendor == "sqlite" else Decimal
            assert all(isinstance(cost, stored) for (cost,) in cursor.fetchall())
        last = snapshots.objects.filter(allocated_cost__gt=0).order_by("seq")[0]
        with pytest.raises(IntegrityError), transaction.atomic():
            snapshots.objects.bulk_create([_copy(last, currency="")])
        with pytest.raises(IntegrityError), transaction.atomic():
            reports.objects.bulk_create([_copy(reports.objects.get(), seq=1, total_cost=None)])
        call_command("migrate", "billing", "0008", verbosity=0)
        check_rows(*rows_of("0008_labels"))
    finally:
        call_command("migrate", verbosity=0)  # the apps it depends on went back as well


def _copy(row: Any, **changes: Any) -> Any:
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row)(**values | {"id": None, "seq": 30_000} | changes)
