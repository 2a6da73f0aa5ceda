"""One account's usage: its page, its panel, and the details of one figure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.usage.period_ends import assess_due
from billing.usage.snapshots import store_final_readings
from customers.models import Account, UsageReading
from tests.billing.reports.test_views import (
    NIGHT,
    NOW,
    OCTOBER,
    a_silent_account,
    an_account,
    context,
    every_status,
    read,
)  # fmt: skip
from tests.customers.page_helpers import prose_of
from tests.support.factories import CustomerFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)


@pytest.fixture
def finance(client: Client) -> Client:
    return sign_in(client, UserFactory(role="finance"))


def details(client: Client, account: Account, start: str = "2026-10-01", **more: Any) -> Any:
    return client.get(reverse("billing:figure", args=[account.public_id, start]), **more)


def test_the_cycle_shows_its_gaps_and_its_pace(finance: Client) -> None:
    account = an_account()
    for day, used in ((1, 2_000), (2, 4_000), (3, 6_000), (6, 12_000), (7, 14_000)):
        read(account, used * 3, at=datetime(2026, 11, day, 23, 30, tzinfo=UTC))
    read(account, 120_000 * 19 // 30, at=NOW - timedelta(hours=1))

    response = finance.get(reverse("billing:account-usage", args=[account.public_id]))
    cycle = response.context["cycle"]

    assert [(gap.first.day, gap.last.day) for gap in cycle.gaps] == [(4, 5), (8, 19)]
    assert len(cycle.chart["lines"]) == 3, "the line breaks at a gap"
    assert cycle.pace is not None
    assert cycle.pace.passes_on is not None
    text = response.content.decode()
    assert "Projected to exceed 100% on <b>" in text
    assert "missing (not zero)" in text
    assert 'style="' not in text


@pytest.mark.parametrize("cycle", ["nonsense", "2026-10-02"])
def test_a_period_the_account_does_not_have_is_refused(finance: Client, cycle: str) -> None:
    account = an_account()
    read(account, 700, start=date(2026, 10, 1), end=date(2026, 10, 31))
    read(account, 41_000)
    address = reverse("billing:account-usage", args=[account.public_id])
    response = finance.get(address, {"cycle": cycle})
    assert response.status_code == 400
    assert f"Billing period: unknown value “{cycle}”" in response.content.decode()
    assert response.context["cycle"] is None
    assert "?cycle=2026-10-01" in response.content.decode(), "the periods it has"
    assert finance.get(address, {"cycle": "2026-10-01"}).context["cycle"].period.used == 700
    assert finance.get(address).context["cycle"].period.used == 41_000


def test_only_an_open_period_names_its_next_update(finance: Client) -> None:
    """Providers report the current period only."""
    account = an_account()
    read(account, 700, start=date(2026, 10, 1), end=date(2026, 10, 31))
    read(account, 41_000)
    address = reverse("billing:account-usage", args=[account.public_id])
    assert "next update" in prose_of(finance.get(address))
    assert "next update" not in prose_of(finance.get(address, {"cycle": "2026-10-01"}))
    read(account, 40_000, at=NOW - timedelta(minutes=1))
    answer = finance.get(address)
    assert answer.context["cycle"].period.status == "disputed"
    assert "next update" in prose_of(answer), "of a contradiction in an open period, too"


def test_an_account_that_was_never_read_says_so(finance: Client) -> None:
    account = an_account()
    text = finance.get(reverse("billing:account-usage-panel", args=[account.public_id])).content.decode()
    assert "No usage data yet" in text
    assert "<html" not in text


@pytest.mark.parametrize("name", ["final", "interval", "disputed", "missing", "endless"])
def test_every_page_of_an_account_has_the_status_of_the_report(finance: Client, name: str) -> None:
    account = every_status()[name]
    usage = reverse("billing:account-usage", args=[account.public_id])
    panel = reverse("billing:account-usage-panel", args=[account.public_id])
    status = "interval" if name == "endless" else name
    mark = f"bl-s-{status}"
    assert mark in finance.get(usage, {"cycle": "2026-10-01"}).content.decode()
    assert mark in details(finance, account).content.decode()
    assert "bl-s-missing" in finance.get(panel).content.decode(), "November was read of none of them"


def test_a_contradiction_is_told_on_the_page_of_the_account(finance: Client) -> None:
    account = every_status()["disputed"]
    answer = finance.get(reverse("billing:account-usage", args=[account.public_id]), {"cycle": "2026-10-01"})
    text = prose_of(answer)
    assert answer.context["cycle"].percent is None, "90 or 340 %"
    assert "90 \u2013 340% of the quota" in prose_of(details(finance, account))
    assert "the provider reported 20,000 after 100,000." in text
    assert "90,000 \u2013 340,000 of 100,000 emails" in text
    assert "1 contradiction is waiting for a decision." in prose_of(details(finance, account))


def test_the_details_are_a_panel_for_htmx_and_else_a_page(finance: Client) -> None:
    account = every_status()["final"]
    panel, whole = details(finance, account, headers={"HX-Request": "true"}), details(finance, account)
    assert 'id="dialog-title"' in panel.content.decode()
    assert "<html" not in panel.content.decode()
    assert "<h1>" in whole.content.decode()
    for answer in (panel, whole):
        text = prose_of(answer)
        assert "The provider reported the same number twice after the end, 8 hours apart." in text
        assert "120% of the quota" in text
        assert "Version 1, batch" in text
    assert details(finance, account, "2026-10-02").status_code == 404
    assert details(finance, account, "nonsense").status_code == 404


def test_a_figure_that_changed_shows_its_versions(finance: Client) -> None:
    account = an_account()
    read(account, 100_000, at=NIGHT, **OCTOBER)
    assess_due(now=NIGHT + timedelta(hours=12))
    read(account, 103_000, at=NIGHT + timedelta(days=3), **OCTOBER)
    text = prose_of(details(finance, account))
    assert text.index("103,000") < text.index("100,000 \u2013 250,000")
    assert "Version 2" in text
    assert "The provider reported a new value." in text


def test_a_deleted_account_counts_with_its_last_reading(finance: Client) -> None:
    account = an_account(state="deleted")
    operation = OperationFactory(account=account, kind="delete", state="succeeded", created_at=NOW, finished_at=NOW)
    UsageReading.objects.create(
        operation=operation, account=account, source="credits", taken_at=NOW - timedelta(hours=1),
        usage={"used": 321, "period_start_on": "2026-11-01", "period_end_on": "2026-11-30"},
    )  # fmt: skip
    store_final_readings()
    row = context(finance).rows[0]
    assert (row.used, row.high, row.status, row.reason) == (321, 321, "final", "before_deletion")


def test_a_missing_period_says_so_on_the_account(finance: Client) -> None:
    account = a_silent_account(customer=CustomerFactory(company_name="Juniper Row"))
    assess_due(now=NOW)
    text = prose_of(finance.get(reverse("billing:account-usage-panel", args=[account.public_id])))
    assert "Missing" in text
    assert "no usage data" in text
    assert "Updated" not in text
    assert "View as table" not in text, "there is nothing to draw"
