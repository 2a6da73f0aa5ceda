"""The worker's rating: which months, and when not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache

from billing.models import Statement, SyncRun
from billing.pricing.statements import due_months
from billing.tasks import rate_statements
from customers.models import Connection
from tests.billing.pricing.statements.agreed import BASE, NOW, OVERAGE, PACKAGE, customer_with, offerings, publish

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget() -> Any:
    cache.clear()
    yield
    cache.clear()


def months() -> list[tuple[str, int]]:
    rows = Statement.objects.filter(side="sell").order_by("month")
    return [(f"{row.month:%Y-%m}", row.total_minor) for row in rows]


def test_this_month_and_the_last_one_are_rated() -> None:
    customer_with()
    due_months.rate_due(now=NOW)
    assert months() == [("2026-11", 8995), ("2026-12", 8995)]


def test_nothing_is_compared_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    customer, one = customer_with()
    due_months.rate_due(now=NOW)
    compared: list[date] = []
    monkeypatch.setattr(due_months, "rate_month", lambda month, **_: compared.append(month))
    due_months.rate_due(now=NOW)
    assert compared == []
    publish(customer.contracts.get().price_lists.get().price_list, BASE, OVERAGE, since=date(2026, 11, 1))
    due_months.rate_due(now=NOW)
    assert len(compared) == 2
    offerings(one, date(2026, 11, 20), (PACKAGE, 1))
    due_months.rate_due(now=NOW)
    assert len(compared) == 4


def test_it_waits_for_the_nightly_sync() -> None:
    customer_with()
    run = SyncRun.objects.create(
        connection=Connection.objects.get(), kind="nightly", slot="n", started_at=NOW, not_before=NOW,
        until=NOW + timedelta(hours=1),
    )  # fmt: skip
    due_months.rate_due(now=NOW)
    assert months() == []
    SyncRun.objects.filter(pk=run.pk).update(state="complete", finished_at=NOW)
    due_months.rate_due(now=NOW)
    assert len(months()) == 2


def test_the_task_rates(time_machine: Any) -> None:
    time_machine.move_to(datetime(2026, 12, 2, 12, tzinfo=UTC), tick=False)
    customer_with()
    rate_statements(later="argument")
    assert Statement.objects.exists()
