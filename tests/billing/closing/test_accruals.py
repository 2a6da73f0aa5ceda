"""Accrued revenue at a month's end: days, usage, what is missing, and the same file whenever it is written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse

from billing.models import BillingTerms, ConnectionBilling
from customers.models import Account
from portal.audit.models import AuditEvent
from tests.billing.closing.accounting_reader import rows_of
from tests.billing.pricing.pages import client_of, page_of
from tests.billing.pricing.statements.agreed import (
    BASE,
    NOW,
    OVERAGE,
    account,
    contract,
    figure,
    moment,
    offerings,
    price_list,
    reading,
    state,
)

pytestmark = pytest.mark.django_db

START, END = date(2026, 11, 15), date(2026, 12, 14)
IP = {"offering": "postkeeper.x.ip.v2", "component": "dedicated_ip", "amount": "20"}
SETUP = {"offering": "postkeeper.x.setup.v1", "component": "one_time", "amount": "50"}


@pytest.fixture(autouse=True)
def _december(time_machine: Any) -> None:
    time_machine.move_to(NOW, tick=False)
    BillingTerms.objects.create(pk=1, default_account_code="8400", accrued_account_code="1590")


def open_account(*prices: dict[str, Any], used: int | None = None, at: datetime | None = None, **terms: Any) -> Account:
    """An account whose billing period is from the 15th to the 14th, read once in November."""
    one = account()
    contract(one.customer, price_list(*(prices or (BASE, OVERAGE)), name=f"List {one.pk}"), **terms)
    period = figure(one, None, start=START, end=END)
    if used is not None:
        reading(one, period, at or moment(date(2026, 11, 30), 20), used)
    return one


def journal(status: int = 200) -> Any:
    answer = client_of().get(reverse("billing:month-accruals-export", args=["2026-11"]))
    assert answer.status_code == status
    return rows_of(b"".join(answer)) if status == 200 else answer.content.decode()


def accrued() -> dict[str, str]:
    return {row["text"].split(",")[0]: row["amount"] for row in journal() if row["entry"] == "accrual"}


def test_days_so_far_are_accrued_and_reversed() -> None:
    one = open_account(used=41_238)
    there, back = journal()
    expected = {
        "amount": "47.97", "currency": "EUR", "customer": str(one.customer), "account": one.provider_id, "missing": "",
        "text": "Base fee, Pro 100K, 2026-11-15 to 2026-12-14: 16/30 x 89.95",
    }  # fmt: skip
    for row in (there, back):
        assert {name: row[name] for name in expected} == expected
    first = [there[name] for name in ("date", "debit account", "credit account", "entry")]
    second = [back[name] for name in ("date", "debit account", "credit account", "entry")]
    assert first == ["2026-11-30", "1590", "8400", "accrual"]
    assert second == ["2026-12-01", "8400", "1590", "reversal"]
    assert there["row id"] != back["row id"]


def test_overage_so_far_is_accrued_whole() -> None:
    open_account(used=130_500)
    assert accrued() == {"Base fee": "47.97", "Overage": "25.93"}


def test_no_overage_before_the_volume_is_exceeded() -> None:
    open_account(used=100_000)
    assert accrued() == {"Base fee": "47.97"}


def test_addons_by_days_and_one_time_fees_whole() -> None:
    one = open_account(BASE, OVERAGE, IP, SETUP, used=0)
    offerings(one, date(2026, 11, 24), (one.package, 1), (IP["offering"], 1), (SETUP["offering"], 1))
    found = accrued()
    assert found["Dedicated IP"] == "10.67"
    assert found["One-time fee"] == "50.00"


def test_a_minimum_commit_is_not_accrued() -> None:
    open_account(used=0, commit={"amount": "1000"})
    assert accrued() == {"Base fee": "47.97"}


def test_a_missing_reading_is_marked_and_not_zero() -> None:
    one = account()
    contract(one.customer, price_list())
    figure(one, 5_000, start=date(2026, 10, 15), end=date(2026, 11, 14))
    there, _back = journal()
    assert (there["amount"], there["missing"]) == ("47.97", "missing")
    assert "No usage data: 1 account" in page_of(client_of(), "month-accruals", "2026-11")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2026, 11, 30, 22, 59, tzinfo=UTC), {"Base fee": "47.97", "Overage": "25.93"}),
        (datetime(2026, 11, 30, 23, 1, tzinfo=UTC), {"Base fee": "47.97"}),
    ],
)
def test_the_cut_off_is_midnight_in_the_billing_zone(at: datetime, expected: dict[str, str]) -> None:
    one = open_account(used=130_500, at=at)
    ConnectionBilling.objects.create(connection=one.connection, zone="Europe/Berlin")
    assert accrued() == expected


def test_the_file_is_the_same_whenever_it_is_written(time_machine: Any) -> None:
    one = open_account(used=130_500)
    before = journal()
    period = one.usage_periods.get()
    reading(one, period, moment(date(2026, 12, 3)), 400_000)
    offerings(one, date(2026, 12, 1), ("postkeeper.ei.pro-300k.v1", 1))
    state(one, date(2026, 12, 1), "deleted")
    period.used, period.high, period.status = 400_000, 400_000, "final"
    period.current = period.latest = one.usage_snapshots.latest("as_of")
    period.save(update_fields=["used", "high", "status", "current", "latest"])
    time_machine.move_to(NOW + timedelta(days=60), tick=False)
    assert journal() == before


def test_a_period_that_was_not_read_stays_as_it_was_known() -> None:
    """Later the provider restarts the billing periods in the middle of the one that was accrued."""
    one = account()
    contract(one.customer, price_list())
    period = figure(one, 5_000, start=date(2026, 10, 15), end=date(2026, 11, 14))
    before = journal()
    assert "2026-11-15 to 2026-12-14: 16/30 x 89.95" in before[0]["text"]
    period.end_on = date(2026, 11, 19)
    period.save(update_fields=["end_on"])
    later = figure(one, None, start=date(2026, 11, 20), end=date(2026, 12, 19))
    reading(one, later, moment(date(2026, 12, 2)), 70)
    assert journal() == before


def test_an_account_that_is_read_first_in_its_next_period() -> None:
    """It existed before: its base is due for the billing period that was open at the cut-off."""
    one = account()
    contract(one.customer, price_list())
    figure(one, 5_000, start=date(2026, 12, 15), end=date(2027, 1, 14))
    there, _back = journal()
    assert (there["amount"], there["missing"]) == ("47.97", "missing")


def test_periods_that_end_with_the_month_are_not_accrued() -> None:
    one = account()
    contract(one.customer, price_list())
    figure(one, 130_500)
    assert journal() == []
    assert "No billing period was open" in page_of(client_of(), "month-accruals", "2026-11")


def test_an_account_without_a_contract_is_named_as_missing() -> None:
    one = account()
    reading(one, figure(one, None, start=START, end=END), moment(date(2026, 11, 30)), 5)
    assert "No contract: 1 account" in page_of(client_of(), "month-accruals", "2026-11")


def test_sums_by_currency_and_account_code() -> None:
    open_account({**BASE, "account_code": "8401"}, OVERAGE, used=130_500)
    open_account(used=130_500)
    page = page_of(client_of(), "month-accruals", "2026-11")
    assert "EUR 8400 €99.83 " in page
    assert "EUR 8401 €47.97 " in page
    assert "EUR Total €147.80" in page


def test_many_accounts_are_added_up_by_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    open_account(used=0)
    monkeypatch.setattr("billing.closing.accounting.views.ADDED_UP_AT_ONCE", 0)
    assert "Export the journal to see them" in page_of(client_of(), "month-accruals", "2026-11")
    journal()
    assert "EUR 8400 €47.97" in page_of(client_of(), "month-accruals", "2026-11")


def test_refusals_say_what_to_do(time_machine: Any) -> None:
    BillingTerms.objects.update(accrued_account_code="")
    assert "Enter one under Prices" in journal(status=409)
    time_machine.move_to(datetime(2026, 11, 30, 12, 0, tzinfo=UTC), tick=False)
    assert "isn't over" in journal(status=409)
    assert "isn't over" in page_of(client_of(), "month-accruals", "2026-11")
    assert not AuditEvent.objects.filter(verb="accounting.exported").exists()
