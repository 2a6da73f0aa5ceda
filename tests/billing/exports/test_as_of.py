"""The report as of a ledger batch: it never changes, whatever comes later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import Anomaly, LedgerBatch, Status, UsagePeriod
from billing.reports.as_of import FiguresAsOf
from billing.usage.decisions import decide_anomalies
from billing.usage.exported import mark_exported
from billing.usage.ledger import batch_at, last_batch, next_batch
from billing.usage.period_ends import assess_due
from portal.access.models import User
from portal.commands import Command
from tests.billing.exports.support import (
    IN_MONTH,
    MONTH,
    NOW,
    a_customer_account,
    csv_rows,
    export,
    read_over,
    read_usage,
)
from tests.support.factories import ConnectionFactory

pytestmark = pytest.mark.django_db


def as_of(batch: int) -> list[tuple[Any, ...]]:
    return [row.values for row in FiguresAsOf(MONTH, batch).lines()]


def used_as_of(batch: int) -> list[tuple[int | None, str]]:
    return [(row.used, row.status) for row in FiguresAsOf(MONTH, batch).lines()]


def test_a_version_counts_from_its_batch_to_the_next() -> None:
    account = a_customer_account()
    read_over(account, 100_000)
    before = last_batch()
    read_usage(account, 103_000, at=NOW)
    assert used_as_of(before) == [(100_000, Status.INTERVAL)]
    assert used_as_of(last_batch())[0][0] == 103_000


def test_an_open_figure_is_its_last_reading_up_to_then() -> None:
    account = a_customer_account()
    read_usage(account, 10_000, at=IN_MONTH)
    first = last_batch()
    read_usage(account, 20_000, at=IN_MONTH + timedelta(days=1))
    second = last_batch()
    expected = as_of(first), as_of(second)
    assert (used_as_of(first), used_as_of(second)) == ([(10_000, "open")], [(20_000, "open")])

    read_usage(account, 30_000, at=IN_MONTH + timedelta(days=2))
    assert (as_of(first), as_of(second)) == expected
    mark_exported([UsagePeriod.objects.get().pk], now=NOW)
    assert (as_of(first), as_of(second)) == expected
    read_over(account, 40_000)
    assert (as_of(first), as_of(second)) == expected
    assert as_of(0) == []


def test_a_stale_figure_stays_open_in_earlier_figures() -> None:
    read_usage(a_customer_account(), 10_000, at=IN_MONTH)
    before = as_of(last_batch())
    assess_due(now=IN_MONTH + timedelta(days=3))
    assert UsagePeriod.objects.get().status == Status.STALE
    assert as_of(last_batch()) == before
    mark_exported([UsagePeriod.objects.get().pk], now=NOW)
    assert used_as_of(last_batch()) == [(10_000, "stale")], "from its export on it has versions"


def test_a_wrong_reading_counts_until_it_was_decided(anna: User) -> None:
    account = a_customer_account()
    read_usage(account, 50_000, at=IN_MONTH)
    read_usage(account, 20_000, at=IN_MONTH + timedelta(days=1))
    undecided = last_batch()
    command = Command(anna, IN_MONTH + timedelta(days=1, hours=1), reason="a test")
    decide_anomalies(command, anomalies=list(Anomaly.objects.all()), verdict="wrong")
    decided = last_batch()
    read_usage(account, 60_000, at=IN_MONTH + timedelta(days=2))
    assert used_as_of(undecided) == [(20_000, "disputed")]
    assert used_as_of(decided) == [(50_000, "open")]


def test_a_contradiction_does_not_count_before_a_decision() -> None:
    account = a_customer_account()
    read_usage(account, 50_000, at=IN_MONTH)
    read_usage(account, 10**12, at=IN_MONTH + timedelta(days=1))
    assert Anomaly.objects.exists()
    set_aside = last_batch()
    read_usage(account, 60_000, at=IN_MONTH + timedelta(days=2))
    assert used_as_of(set_aside) == [(50_000, "disputed")]


def test_the_page_and_totals_agree_with_the_rows(finance: Client) -> None:
    connection = ConnectionFactory()
    for n in range(55):
        read_over(a_customer_account(connection=connection), 120_000 + n)
    for n in range(5):
        read_usage(a_customer_account(connection=connection), 110_000 + n, at=IN_MONTH)
    batch = last_batch()
    read_usage(a_customer_account(connection=connection), 7, at=IN_MONTH)
    rows = list(FiguresAsOf(MONTH, batch).lines())
    totals = FiguresAsOf(MONTH, batch).totals(with_cost=True)
    assert (totals.figures, totals.open) == (len(rows), 5) == (60, 5)
    assert totals.used == sum(row.used or 0 for row in rows)
    assert totals.overage == sum(row.overage or 0 for row in rows)

    address = reverse("billing:usage-as-of")
    shown = []
    for number in ("1", "2"):
        page = finance.get(address, {"month": "2026-10", "at": str(batch), "page": number})
        shown += [row["figure"].values for row in page.context["rows"]]
    assert shown == [row.values for row in rows]
    file = finance.get(reverse("billing:usage-as-of-export"), {"month": "2026-10", "at": str(batch)})
    written = csv_rows(b"".join(file.streaming_content))  # type: ignore[attr-defined]
    assert [row["Emails (least)"] for row in written] == [str(row.used) for row in rows]


def test_an_export_is_a_point(finance: Client) -> None:
    account = a_customer_account()
    read_over(account, 100_000)
    kept = export(finance, month="2026-10")
    read_usage(account, 103_000, at=NOW)
    page = finance.get(reverse("billing:usage-as-of"), {"month": "2026-10", "at": str(kept.public_id)})
    assert [row["figure"].used for row in page.context["rows"]] == [100_000]
    assert page.context["totals"].used == 100_000
    assert "Anna Lind" in page.content.decode()


def test_a_time_is_the_last_batch_up_to_it(finance: Client) -> None:
    account = a_customer_account()
    read_over(account, 100_000)
    first = last_batch()
    read_usage(account, 103_000, at=NOW)
    second = last_batch()
    since = timezone.now() - timedelta(days=2)
    LedgerBatch.objects.filter(number__lte=first).update(at=since)
    LedgerBatch.objects.filter(number__gt=first).update(at=since + timedelta(hours=1))
    assert batch_at(since - timedelta(seconds=1)) is None
    assert batch_at(since) == batch_at(since + timedelta(minutes=59)) == first
    assert batch_at(since + timedelta(hours=1)) == second
    shown = finance.get(
        reverse("billing:usage-as-of"), {"month": "2026-10", "time": f"{since + timedelta(minutes=1):%Y-%m-%dT%H:%M}"}
    )
    assert [row["figure"].used for row in shown.context["rows"]] == [100_000]


# The first day of the calendar begins before it in UTC, for most of the world.
NO_POINT = (
    "at=0",
    "at=99999999",
    "at=x",
    "time=2999-01-01T00:00",
    "time=1999-01-01T00:00",
    "time=0001-01-01T00:00%2B14:00",
)


@pytest.mark.parametrize("query", NO_POINT)
def test_an_unknown_point_is_refused(finance: Client, query: str) -> None:
    read_over(a_customer_account(), 100_000)
    for name in ("billing:usage-as-of", "billing:usage-as-of-export"):
        assert finance.get(f"{reverse(name)}?month=2026-10&{query}").status_code == 400


def test_each_batch_has_its_time_in_order(db: None) -> None:
    first = next_batch()
    LedgerBatch.objects.filter(number=first).update(at=datetime(2031, 1, 1, tzinfo=NOW.tzinfo))
    second = next_batch()
    at = dict(LedgerBatch.objects.values_list("number", "at"))
    assert at[second] >= at[first], "the clock was set back"


def test_a_connection_narrows_it() -> None:
    one, other = a_customer_account(), a_customer_account()
    read_over(one, 1_000)
    read_usage(other, 2_000, at=IN_MONTH)
    assert one.connection_id != other.connection_id
    for account, used in ((one, 1_000), (other, 2_000)):
        found = FiguresAsOf(MONTH, last_batch(), account.connection)
        assert [row.used for row in found.lines()] == [used]
        assert found.totals(with_cost=False).used == used
