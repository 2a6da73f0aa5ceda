"""Runs around the possible ends of billing periods: when they start, for whom, and in which order."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.models import ResetZone, SyncItem, SyncRun, UsagePeriod
from billing.usage import due_runs
from billing.usage.at_risk import by_money_at_risk, readable_in
from billing.usage.batches import due_items
from billing.usage.runs import accounts_of
from customers.models import Account, Connection
from tests.billing.conftest import Meter
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory

END_ON = date(2026, 11, 30)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)


def ending(connection: Connection, *, used: int = 10, allowed: int | None = 100, **more: object) -> Account:
    facts = {"usage_used": used, "usage_allowed": allowed, "usage_end_on": END_ON, "provider_id": None}
    account = AccountFactory(connection=connection, **(facts | more))
    Account.objects.filter(pk=account.pk).update(provider_id=f"sg{account.pk}")
    return account


def slots_at(connection: Connection, clock: datetime) -> list[str]:
    before = set(SyncRun.objects.values_list("slot", flat=True))
    due_runs._start_passes(connection, now=clock)
    return sorted(set(SyncRun.objects.values_list("slot", flat=True)) - before)


def at(text: str) -> datetime:
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


CLOCKS = (
    "11-30 12:00", "11-30 22:59", "11-30 23:00", "11-30 23:55", "12-01 00:00", "12-01 00:01", "12-01 00:31",
    "12-01 06:59", "12-01 07:00", "12-01 07:55", "12-01 08:01", "12-01 08:02", "12-01 16:04", "12-01 16:05",
)  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("zone", "slots"),
    [
        (
            "",
            {
                "11-30 12:00": ["24h"], "11-30 23:00": ["1h"], "11-30 23:55": ["5m"], "12-01 00:01": ["after"],
                "12-01 07:00": ["pacific-1h"], "12-01 07:55": ["pacific-5m"], "12-01 08:02": ["pacific-after"],
                "12-01 16:05": ["pacific-after-8h"],
            },
        ),
        (
            "pacific",
            {
                "11-30 12:00": ["pacific-24h"], "12-01 07:00": ["pacific-1h"], "12-01 07:55": ["pacific-5m"],
                "12-01 08:02": ["pacific-after"], "12-01 16:05": ["pacific-after-8h"],
            },
        ),
        (
            "utc",
            {
                "11-30 12:00": ["24h"], "11-30 23:00": ["1h"], "11-30 23:55": ["5m"], "12-01 00:01": ["after"],
                "12-01 08:02": ["pacific-after"], "12-01 16:05": ["pacific-after-8h"],
            },
        ),
    ],
)  # fmt: skip
def test_passes_around_each_possible_end(zone: str, slots: dict[str, list[str]]) -> None:
    connection = ConnectionFactory()
    ending(connection)
    if zone:
        ResetZone.objects.create(connection=connection, **{zone: 3})
    found = {clock: slots_at(connection, at(clock)) for clock in CLOCKS}
    assert {clock: each for clock, each in found.items() if each} == {
        clock: [f"2026-11-30/{label}" for label in labels] for clock, labels in slots.items()
    }


@pytest.mark.django_db
def test_an_account_that_shows_the_new_period_is_not_read_again() -> None:
    connection = ConnectionFactory()
    rolled, still = ending(connection), ending(connection)
    assert slots_at(connection, at("12-01 00:01")) == ["2026-11-30/after"]
    Account.objects.filter(pk=rolled.pk).update(usage_end_on=date(2026, 12, 31))
    assert slots_at(connection, at("12-01 08:02")) == ["2026-11-30/pacific-after"]
    run = SyncRun.objects.get(slot="2026-11-30/pacific-after")
    assert [each.account_id for each in run.items.all()] == [still.pk]


@pytest.mark.django_db
def test_an_early_pass_starts_as_long_before_as_it_takes() -> None:
    connection = ConnectionFactory(requests_per_minute=1)
    for _ in range(80):
        ending(connection)  # 125 minutes
    assert slots_at(connection, at("11-30 21:54")) == ["2026-11-30/24h"]
    assert slots_at(connection, at("11-30 21:55")) == ["2026-11-30/1h"]
    assert slots_at(connection, at("11-30 23:54")) == []
    assert slots_at(connection, at("11-30 23:55")) == ["2026-11-30/5m"]
    assert SyncRun.objects.get(slot="2026-11-30/1h").total == 80
    assert SyncRun.objects.get(slot="2026-11-30/5m").total == 3, "what fits into five minutes"


@pytest.mark.django_db
def test_money_at_risk_comes_first() -> None:
    connection = ConnectionFactory()
    small = ending(connection, used=50, allowed=1_000)
    rate = ending(connection, used=700_000, allowed=1_000_000)
    near = ending(connection, used=90, allowed=100)
    above = ending(connection, used=140_000, allowed=100_000)
    full = ending(connection, used=2_500_000, allowed=1_000_000)
    without_quota = ending(connection, used=80, allowed=None)
    never = ending(connection, used=None)
    found = by_money_at_risk(accounts_of(connection), connection)
    assert [each.pk for each in found] == [
        each.pk for each in (above, near, never, rate, without_quota, small, full)
    ]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.long
def test_of_10_000_accounts_the_last_pass_reads_those_at_risk() -> None:
    connection = ConnectionFactory(requests_per_minute=600)
    customer = CustomerFactory()
    Account.objects.bulk_create(
        Account(
            connection=connection, customer=customer, provider_id=f"sg{n}", email=f"{n}@x.example", state="active",
            usage_used=n * 7919 % 10_000, usage_allowed=8_000, usage_end_on=END_ON, changed_at=MIDNIGHT,
        )
        for n in range(10_000)
    )  # fmt: skip
    now = at("11-30 23:55")
    due_runs._start_passes(connection, now=now)
    run = SyncRun.objects.get(slot="2026-11-30/5m")
    assert run.total == readable_in(connection, timedelta(minutes=5)) == 1_920
    used = [each.account.usage_used for each in due_items(run, now=now)]
    assert used == list(range(9_999, 9_999 - 1_920, -1))
    assert SyncItem.objects.count() == 1_920


def test_v2_is_read_once_more_on_its_processing_date(meter: Meter) -> None:
    Connection.objects.filter(pk=meter.connection.pk).update(usage_source="overview_json")
    meter.connection.refresh_from_db()
    account, other = meter.account(anchor_day=20), meter.account(anchor_day=25)
    meter.read()
    assert UsagePeriod.objects.get(account=account).latest.process_on == date(2026, 11, 20)
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    due_runs._start_processing(meter.connection, now=noon - timedelta(seconds=1))
    assert not SyncRun.objects.filter(slot="2026-11-20/processing").exists()
    for _ in range(2):
        due_runs._start_processing(meter.connection, now=noon)
    run = SyncRun.objects.get(slot="2026-11-20/processing")
    assert [each.account_id for each in run.items.all()] == [account.pk]
    assert other.usage_items.filter(run=run).count() == 0
