"""Changes between two points: row by row with the reason, and the differences add up exactly."""

from __future__ import annotations

import random
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from billing.models import UsageExport, UsagePeriod
from billing.reports.changes import ChangesQuery, changes_between
from billing.reports.export_changes import compare_exports
from billing.tasks import advance_exports
from billing.usage.decisions import decide_figure
from billing.usage.ledger import last_batch
from billing.usage.period_ends import assess_due
from portal.access.models import User
from portal.commands import Command
from portal.formats import day_text
from portal.notices import delivery
from portal.notices.models import Notice
from tests.billing.exports.support import (
    IN_MONTH,
    MONTH,
    NOW,
    OVER,
    a_customer_account,
    csv_rows,
    export,
    read_over,
    read_usage,
    xlsx_rows,
)
from tests.customers.page_helpers import prose_of
from tests.support.factories import ConnectionFactory, CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db


def page(client: Client, **query: str) -> Any:
    return client.get(reverse("billing:usage-changes"), {"month": "2026-10", **query})


def test_a_late_value_is_a_change_with_its_reason(finance: Client) -> None:
    account = a_customer_account()
    read_over(account, 100_000)
    kept = export(finance, month="2026-10")
    read_usage(account, 103_000, at=NOW)
    found = page(finance, since=str(kept.public_id))
    (row,) = found.context["rows"]
    change = row["change"]
    assert (change.before.used, change.after.used, change.used, change.overage) == (100_000, 103_000, 3_000, 3_000)
    assert row["cause"] == "The provider reported a new value."
    assert found.context["changes"].used == 3_000


def test_amounts_of_totals_have_two_places(finance: Client) -> None:
    account = a_customer_account()
    read_over(account, 100_000, allocated_cost=Decimal("10.00"), currency="USD")
    kept = export(finance, month="2026-10")
    read_usage(account, 103_000, at=NOW, allocated_cost=Decimal("10.30"), currency="USD")
    found = prose_of(page(finance, since=str(kept.public_id)))
    assert "$10.00 $10.30 +$0.30" in found
    earlier = finance.get(reverse("billing:usage-as-of"), {"month": "2026-10", "at": str(kept.public_id)})
    assert "Allocated cost $10.00 " in prose_of(earlier)


def test_each_point_is_labeled_with_its_zone_and_format(finance: Client) -> None:
    read_over(a_customer_account(), 100_000)
    export(finance, month="2026-10")
    found = prose_of(page(finance))
    for words in ("Since", "Until", r"or time \(UTC\)", r"CSV \d+ \w{3} \d{4}"):
        assert re.search(words, found), words


def test_a_decision_names_the_person_and_the_reason(finance: Client, anna: User) -> None:
    period = read_over(a_customer_account(), 90_000)
    since = last_batch()
    command = Command(anna, reason="Agreed with the customer")
    decide_figure(command, period=period, seen_version=period.version, verdict="quantity", quantity=95_000)
    found = page(finance, since=str(since))
    (row,) = found.context["rows"]
    assert row["change"].used == 5_000
    assert row["cause"] == "Finance made a decision."
    text = found.content.decode()
    assert "Agreed with the customer" in text
    assert "Anna Lind" in text


def test_an_export_alone_changes_nothing(finance: Client) -> None:
    read_usage(a_customer_account(), 5_000, at=IN_MONTH)
    since = last_batch()
    export(finance, month="2026-10")
    assert last_batch() > since
    assert changes_between(ChangesQuery(MONTH, since, last_batch())).rows == []


def test_figures_that_come_and_go_are_changes(finance: Client) -> None:
    moving, new = a_customer_account(), a_customer_account()
    read_usage(moving, 5_000, at=IN_MONTH)
    export(finance, month="2026-10")
    since = last_batch()
    read_usage(moving, 6_000, at=IN_MONTH + timedelta(days=1), end=date(2026, 11, 3))
    read_usage(new, 700, at=IN_MONTH)
    changes = changes_between(ChangesQuery(MONTH, since, last_batch()))
    by_account = {row.figure.account: row for row in changes.rows}
    assert (by_account[new.public_id].before, by_account[new.public_id].used) == (None, 700)
    assert (by_account[moving.public_id].after, by_account[moving.public_id].used) == (None, -5_000)
    assert (changes.used, changes.figures) == (-4_300, 0)
    november = changes_between(ChangesQuery(date(2026, 11, 1), since, last_batch()))
    assert [row.used for row in november.rows] == [6_000]


@pytest.mark.parametrize("seed", range(4))
def test_the_differences_add_up_exactly(seed: int, anna: User) -> None:
    rng = random.Random(seed)
    connection = ConnectionFactory()
    accounts = [a_customer_account(connection=connection) for _ in range(8)]
    points = [last_batch()]
    used = dict.fromkeys(range(8), 1_000)
    for step in range(14):
        n = rng.randrange(8)
        at = IN_MONTH + timedelta(days=step) if step < 11 else NOW + timedelta(hours=step)
        used[n] += rng.randrange(-300, 90_000)
        cost = Decimal(rng.randrange(1, 10**6)) / 1000
        currency = rng.choice(["EUR", "USD"])
        read_usage(accounts[n], max(0, used[n]), at=at, allocated_cost=cost, currency=currency)
        if step == 11:
            assess_due(now=OVER + timedelta(hours=1))
        points.append(last_batch())
    for since, until in [(0, points[-1]), (points[3], points[9]), (points[9], points[-1]), (points[5], points[5])]:
        changes = changes_between(ChangesQuery(MONTH, since, until), with_cost=True)
        assert sum(row.used for row in changes.rows) == changes.after.used - changes.before.used
        assert sum(row.overage for row in changes.rows) == changes.after.overage - changes.before.overage
        added = sum(row.before is None for row in changes.rows) - sum(row.after is None for row in changes.rows)
        assert added == changes.figures
        for cost_change in changes.costs:
            rows = sum(row.costs.get(cost_change.currency, Decimal()) for row in changes.rows)
            assert rows == cost_change.difference


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_the_changes_can_be_exported(finance: Client, file_format: str) -> None:
    account = a_customer_account()
    read_over(account, 100_000)
    since = last_batch()
    read_usage(account, 103_000, at=NOW)
    query = {"month": "2026-10", "since": str(since), "format": file_format}
    response = finance.get(reverse("billing:usage-changes-export"), query)
    content = b"".join(response.streaming_content)  # type: ignore[attr-defined]
    if file_format == "csv":
        (row,) = csv_rows(content)
        assert (row["Emails before"], row["Emails after"], row["Difference (emails)"]) == ("100000", "103000", "3000")
    else:
        (cells,) = xlsx_rows(content)
        assert cells["Difference (emails)"] == ("n", "3000")
    assert not UsageExport.objects.exists(), "it can be made again at any time"


def test_points_in_the_wrong_order_are_refused(finance: Client) -> None:
    account = a_customer_account()
    read_over(account, 100_000)
    assert page(finance, since=str(last_batch()), until="1").status_code == 400
    assert finance.get(reverse("billing:usage-changes"), {"month": "2026-10"}).status_code == 200


# --- Row F: whoever exported the month is told ---


def test_the_exporter_is_told_once_per_export(finance: Client, anna: User) -> None:
    UserFactory(role="admin", email="admin@postkeeper.example")
    accounts = [a_customer_account() for _ in range(3)]
    for account in accounts:
        read_over(account, 100_000)
    kept = export(finance, month="2026-10")
    advance_exports()
    assert not Notice.objects.exists()
    for step, account in enumerate(accounts):
        read_usage(account, 103_000, at=NOW + timedelta(minutes=step))
        advance_exports()
    kept.refresh_from_db()
    assert kept.changed == 3
    notice = Notice.objects.get()
    told = f"3 figures changed since the export of {day_text(kept.requested_at)} by Anna Lind."
    assert notice.text == told
    delivery.deliver(now=notice.not_before + timedelta(minutes=5))
    assert [(each.to, "3 figures changed" in each.body) for each in mail.outbox] == [([anna.email], True)]
    assert finance.get(notice.path).context["changes"].used == 9_000

    read_usage(accounts[0], 104_000, at=NOW + timedelta(hours=1))
    advance_exports()
    delivery.deliver(now=notice.not_before + timedelta(hours=2))
    assert len(mail.outbox) == 1
    for address in (reverse("billing:usage-exports"), reverse("billing:usage")):
        text = finance.get(address, {"month": "2026-10"}).content.decode()
        assert told in text


def test_a_figure_that_was_open_is_expected_to_change(finance: Client) -> None:
    account = a_customer_account()
    read_usage(account, 5_000, at=IN_MONTH)
    kept = export(finance, month="2026-10")
    read_over(account, 9_000)
    assert compare_exports(now=NOW) == 1
    kept.refresh_from_db()
    assert (kept.changed, Notice.objects.count()) == (0, 0)


def test_only_the_last_of_the_same_exports_notifies(finance: Client) -> None:
    account = a_customer_account(customer=CustomerFactory(external_reference="K-1"))
    read_over(account, 100_000)
    first, last = export(finance, month="2026-10"), export(finance, "xlsx", month="2026-10")
    other = export(finance, month="2026-10", only="unreferenced")
    read_usage(account, 103_000, at=NOW)
    compare_exports(now=NOW)
    assert set(Notice.objects.values_list("about", flat=True)) == {str(last.public_id)}
    first.refresh_from_db()
    other.refresh_from_db()
    assert (first.changed, other.changed) == (1, 0), "the figure wasn't in the other file"


def test_a_value_that_returns_is_no_change(finance: Client, anna: User) -> None:
    period = read_over(a_customer_account(), 90_000)
    kept = export(finance, month="2026-10")
    command = Command(anna, reason="a test")
    decide_figure(command, period=period, seen_version=1, verdict="quantity", quantity=95_000)
    compare_exports(now=NOW)
    kept.refresh_from_db()
    assert kept.changed == 1
    fresh = UsagePeriod.objects.get()
    decide_figure(command, period=fresh, seen_version=fresh.version, verdict="undone")
    compare_exports(now=NOW)
    kept.refresh_from_db()
    assert kept.changed == 0
    assert Notice.objects.get().ended_at is not None
