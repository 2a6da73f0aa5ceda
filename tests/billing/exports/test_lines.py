"""The lines of the usage export: the same bytes, whichever way they are made."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from billing.labels import REASONS
from billing.models import PooledSnapshot, Status, UsagePeriod
from billing.reports.export_columns import export_lines, export_rows
from billing.reports.filters import UsageFilters
from billing.reports.pool import BUCKETS
from customers.models import Connection
from portal.exports import csv_lines
from portal.providers import UsageSource
from tests.billing.exports.support import END, IN_MONTH, NOW, START, a_customer_account, read_over, read_usage
from tests.support.factories import ConnectionFactory, CustomerFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both]


def every_kind_of_figure() -> None:
    connection = ConnectionFactory(name="=Main")
    for reference in ("", "=1", "007"):
        customer = CustomerFactory(company_name='a "b";=c', external_reference=reference)
        read_over(a_customer_account(connection=connection, customer=customer), 120_000, requests=987_654)
    for n, source in enumerate(UsageSource):
        cost = {"allocated_cost": Decimal(f"1{n}.{n}01"), "currency": "USD"} if source == UsageSource.POOLED else {}
        read_over(a_customer_account(connection=connection), 500 + n, source=source, **cost)
    for n, reason in enumerate(REASONS):
        period = read_usage(a_customer_account(connection=connection, package=f"=odd-{n % 3}"), n, at=IN_MONTH)
        open_ended = {"high": None, "overage_high": None} if n % 2 else {}
        UsagePeriod.objects.filter(pk=period.pk).update(
            status="interval", reason=reason, exported=bool(n % 4), **open_ended
        )
    for status in Status.values:
        period = read_usage(a_customer_account(connection=connection), 7, at=IN_MONTH)
        nothing = {"used": None, "current": None, "high": None, "read_at": None} if status == "missing" else {"high": 7}
        UsagePeriod.objects.filter(pk=period.pk).update(status=status, **nothing)


def a_pool_with_a_note(connection: Connection) -> None:
    sums = {f"{of}_count": 0 for of in BUCKETS} | {f"{of}_cost": Decimal(0) for of in BUCKETS}
    PooledSnapshot.objects.create(
        connection=connection,
        period_start_on=START,
        period_end_on=END,
        starts_at=IN_MONTH,
        ends_at=NOW,
        as_of=NOW,
        currency="EUR",
        note="=Not a price; -really",
        adds_up=True,
        **sums,
    )
    for n in range(3):
        cost = {"allocated_cost": Decimal(n), "currency": "EUR"} if n else {}
        read_over(a_customer_account(connection=connection), 300 - n, source="pooled", **cost)


@pytest.mark.parametrize("with_cost", [True, False])
@pytest.mark.parametrize("sort", ["", "name", "-read"])
def test_the_lines_are_those_of_the_rows(sort: str, *, with_cost: bool) -> None:
    every_kind_of_figure()
    a_pool_with_a_note(ConnectionFactory(name="Pool"))
    query = {"month": "2026-10"} | ({"sort": sort} if sort else {})
    filters = UsageFilters(query, today=NOW.date(), with_cost=with_cost)
    expected = list(csv_lines(export_rows(filters)))
    assert list(export_lines(filters)) == expected
    assert len(expected) == UsagePeriod.objects.filter(month=date(2026, 10, 1)).count() > 25
    assert sum("Not a price" in line for line in expected) == with_cost
