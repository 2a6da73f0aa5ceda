"""What stored facts prove about the end of a period: states, packages, statistics."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from billing.models import Anomaly, Decision, StatisticsReading, UsagePeriod
from billing.usage import figures, period_ends
from billing.usage.ledger import next_batch
from billing.usage.snapshots import AccountReading, store_final_readings, store_readings
from customers.models import Account, UsageReading
from portal.providers import Usage, UsageSource
from tests.support.factories import AccountFactory, OfferingFactory, OperationFactory

pytestmark = pytest.mark.django_db

START_ON, END_ON = date(2026, 11, 1), date(2026, 11, 30)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
LAST = MIDNIGHT - timedelta(minutes=4)
HOURS = timedelta(hours=1)
DAY = timedelta(days=1)
SETTLED = datetime(2026, 12, 4, 12, tzinfo=UTC)


def usage(used: int, *, allowed: int = 1000, start: date = START_ON, end: date = END_ON) -> Usage:
    return Usage(
        source=UsageSource.CREDITS,
        used=used,
        allowed=allowed,
        period_start_on=start,
        period_end_on=end,
        raw={"used": used, "allowed": allowed, "start": str(start)},
    )


def read(account: Account, used: int, at: datetime, *, package: str = "", **more: Any) -> None:
    store_readings([AccountReading(account.pk, usage(used, **more), at, package)], run=None)


def new_period(account: Account, at: datetime, **more: Any) -> None:
    read(account, 0, at, start=MIDNIGHT.date(), end=date(2026, 12, 31), **more)


def has(account: Account, package: str, **times: datetime | None) -> None:
    rows = [{"name": package, "type": "package", "quantity": 1}]
    account.spans.create(kind="offerings", value=rows, package=package, source="linked", **times)


def sells(account: Account, package: str, quota: int, *, subusers: int = 0) -> None:
    entitlements = {"email_sends_max_monthly": quota, "users_max_total": subusers}
    OfferingFactory(connection=account.connection, name=package, entitlements=entitlements)


def figure(account: Account) -> UsagePeriod:
    return UsagePeriod.objects.get(account=account, end_on=END_ON)


def again(account: Account, now: datetime) -> UsagePeriod:
    figures.recompute([figure(account).pk], now=now, batch=next_batch(), cause=figures.FigureCause.STATISTICS)
    return figure(account)


def shows(account: Account, days: dict[str, int], *, as_of: datetime = SETTLED) -> UsagePeriod:
    """Statistics of November and the first days of December, 0 on every other day."""
    first, last = date(2026, 10, 31), date(2026, 12, 3)
    every = {(first + n * DAY).isoformat(): 0 for n in range((last - first).days + 1)}
    StatisticsReading.objects.create(account=account, as_of=as_of, first_on=first, last_on=last, days=every | days)
    return again(account, as_of)


# --- Statistics ---------------------------------------------------------------------------------------------------


@pytest.fixture
def account() -> Account:
    account = AccountFactory(offerings=None, package="")
    sells(account, "small", 1000)
    has(account, "small", seen_at=MIDNIGHT - 60 * DAY)
    read(account, 700, LAST)
    new_period(account, MIDNIGHT + HOURS / 60)
    assert (figure(account).status, figure(account).used, figure(account).high) == ("interval", 700, 2500)
    return account


def test_no_request_on_the_last_days_is_final(account: Account) -> None:
    found = shows(account, {"2026-11-15": 700})
    assert (found.status, found.reason, found.high) == ("final", "nothing_sent", 700)


def test_requests_of_the_days_touched_are_the_most(account: Account) -> None:
    found = shows(account, {"2026-11-15": 700, "2026-11-29": 1, "2026-11-30": 20, "2026-12-01": 5, "2026-12-02": 900})
    assert (found.status, found.used, found.high) == ("interval", 700, 725)


def test_statistics_that_may_still_change_prove_nothing(account: Account) -> None:
    found = shows(account, {"2026-11-15": 700}, as_of=SETTLED - timedelta(seconds=1))
    assert (found.status, found.high) == ("interval", 2500)


def test_fewer_requests_than_credits_prove_nothing(account: Account) -> None:
    assert shows(account, {"2026-11-15": 699}).high == 2500


def test_subusers_may_be_missing_from_statistics(account: Account) -> None:
    sells(account, "large", 5000, subusers=15)
    has(account, "large", seen_at=MIDNIGHT - 3 * DAY, until_at=MIDNIGHT - 2 * DAY)
    found = shows(account, {"2026-11-15": 700})
    assert (found.status, found.high) == ("interval", 12_500)


def test_later_statistics_change_a_figure_with_a_version(account: Account) -> None:
    shows(account, {"2026-11-15": 700})
    found = shows(account, {"2026-11-15": 700, "2026-11-30": 3}, as_of=SETTLED + DAY)
    assert (found.status, found.high) == ("interval", 703)
    assert list(found.versions.order_by("n").values_list("status", "cause")) == [
        ("interval", "reading"), ("final", "statistics"), ("interval", "statistics"),
    ]  # fmt: skip


def test_a_wrong_response_does_not_confirm_the_one_before() -> None:
    account = AccountFactory(offerings=None, package="")
    sells(account, "small", 1000)
    has(account, "small", seen_at=MIDNIGHT - 60 * DAY)
    read(account, 700, MIDNIGHT - 28 * HOURS)
    read(account, 10**12, LAST)
    new_period(account, MIDNIGHT + HOURS / 60)
    anomaly = Anomaly.objects.get(kind="ceiling")
    Decision.objects.create(anomaly=anomaly, verdict="wrong", reason="a test", at=MIDNIGHT + HOURS)
    # 15:00 on 29 November is still in the window of the reading at 20:00, not in that of the wrong one.
    found = shows(account, {"2026-11-15": 10**13, "2026-11-29": 25})
    assert (found.status, found.used, found.high) == ("interval", 700, 725)


# --- States -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stopped", "seen_again", "status"),
    [
        (LAST - 9 * HOURS, MIDNIGHT + 9 * HOURS, "final"),
        (LAST - 7 * HOURS, MIDNIGHT + 9 * HOURS, "interval"),  # what was sent before may not be counted yet
        (LAST - 9 * HOURS, MIDNIGHT + 8 * HOURS, "interval"),  # the period may end at 08:01
    ],
)
def test_an_account_that_was_stopped_until_the_end(stopped: datetime, seen_again: datetime, status: str) -> None:
    account = AccountFactory(state="stopped_by_us", state_read_at=LAST)
    account.spans.create(kind="state", value="stopped_by_us", source="reading", seen_at=stopped)
    read(account, 700, LAST)
    new_period(account, MIDNIGHT + HOURS / 60)
    assert figure(account).status == "interval"
    Account.objects.filter(pk=account.pk).update(state_read_at=seen_again)
    period_ends.assess_due(now=MIDNIGHT + 10 * HOURS)
    assert figure(account).status == status


# --- Packages (row D) ---------------------------------------------------------------------------------------------


def test_an_upgrade_after_the_last_reading_raises_the_most() -> None:
    account = AccountFactory()
    sells(account, "small", 1000)
    sells(account, "large", 4000)
    has(account, "small", seen_at=MIDNIGHT - 60 * DAY, until_at=MIDNIGHT - HOURS / 60)
    has(account, "large", from_at=LAST, seen_at=MIDNIGHT - HOURS / 60, until_at=MIDNIGHT + HOURS)
    has(account, "small", from_at=MIDNIGHT + HOURS / 2, seen_at=MIDNIGHT + HOURS)
    read(account, 700, LAST)
    new_period(account, MIDNIGHT + 2 * HOURS)
    assert figure(account).high == 10_000


def test_a_package_of_unknown_quota_has_no_known_most() -> None:
    account = AccountFactory()
    sells(account, "small", 1000)
    has(account, "small", seen_at=MIDNIGHT - 60 * DAY, until_at=MIDNIGHT - HOURS / 60)
    has(account, "custom", from_at=LAST, seen_at=MIDNIGHT - HOURS / 60)
    read(account, 700, LAST)
    new_period(account, MIDNIGHT + 2 * HOURS)
    assert figure(account).high is None


def test_a_change_in_the_console_never_shows_the_old_package() -> None:
    account = AccountFactory(package="pro-100k", offerings_read_at=MIDNIGHT - 10 * DAY)
    sells(account, "pro-100k", 100_000)
    sells(account, "pro-300k", 300_000)
    has(account, "pro-100k", seen_at=MIDNIGHT - 60 * DAY)
    read(account, 10, MIDNIGHT - 12 * DAY, allowed=100_000, package="pro-100k")
    assert figure(account).package == "pro-100k"
    # Changed in the console, and not noticed yet.
    read(account, 20, LAST, allowed=300_000, package="pro-100k")
    assert (figure(account).package, figure(account).allowed) == ("", 300_000)
    new_period(account, MIDNIGHT + HOURS, allowed=300_000)
    # Noticed in the next period: the change lies between the two readings of the offerings.
    account.spans.update(until_at=MIDNIGHT + 2 * HOURS)
    has(account, "pro-300k", from_at=MIDNIGHT - 10 * DAY, seen_at=MIDNIGHT + 2 * HOURS)
    noticed = usage(30, allowed=300_000, start=MIDNIGHT.date(), end=date(2026, 12, 31))
    UsageReading.objects.create(
        account=account, moment="noticed", source="credits", taken_at=MIDNIGHT + 3 * HOURS,
        usage={"used": noticed.used, "allowed": noticed.allowed, "period_start_on": "2026-12-01",
               "period_end_on": "2026-12-31", "raw": {"used": 30}},
    )  # fmt: skip
    assert store_final_readings() == 1
    assert (figure(account).package, figure(account).allowed) == ("pro-300k", 300_000)
    assert UsagePeriod.objects.get(account=account, start_on=MIDNIGHT.date()).package == "pro-300k"


def test_two_packages_of_one_quota_are_not_guessed() -> None:
    account = AccountFactory()
    sells(account, "pro-100k", 100_000)
    sells(account, "essentials-100k", 100_000)
    has(account, "pro-100k", seen_at=MIDNIGHT - 60 * DAY, until_at=MIDNIGHT)
    has(account, "essentials-100k", from_at=LAST - HOURS, seen_at=MIDNIGHT)
    read(account, 10, LAST, allowed=100_000, package="pro-100k")
    assert figure(account).package == ""


def test_readings_around_our_own_changes_are_stored() -> None:
    account = AccountFactory()
    operation = OperationFactory(account=account, kind="offerings", state="succeeded")
    for minute, moment in enumerate(("before", "after", "noticed"), start=10):
        UsageReading.objects.create(
            account=account, moment=moment, source="credits", taken_at=LAST + timedelta(seconds=minute),
            operation=None if moment == "noticed" else operation,
            usage={"used": minute, "allowed": 1000, "period_start_on": "2026-11-01", "period_end_on": "2026-11-30",
                   "raw": {"moment": moment}},
        )  # fmt: skip
    UsageReading.objects.create(account=account, moment="noticed", source="credits", taken_at=LAST, failure="no answer")
    assert [store_final_readings(), store_final_readings()] == [3, 0]
    assert (figure(account).used, figure(account).before_deletion) == (12, False)


# --- Row I --------------------------------------------------------------------------------------------------------


def test_an_account_created_on_the_last_day_has_a_figure() -> None:
    account = AccountFactory(usage_used=None, usage_read_at=None, usage_end_on=None)
    operation = OperationFactory(account=account, kind="create", state="succeeded")
    UsageReading.objects.create(
        account=account, operation=operation, moment="after", source="credits", taken_at=LAST,
        usage={"used": 0, "allowed": 1000, "period_start_on": "2026-11-30", "period_end_on": "2026-11-30", "raw": {}},
    )  # fmt: skip
    assert store_final_readings() == 1
    new_period(account, MIDNIGHT + HOURS / 60)
    assert (figure(account).status, figure(account).used, figure(account).high) == ("interval", 0, 2500)


def test_a_deletion_in_the_console_does_not_shorten_a_period() -> None:
    account = AccountFactory()
    read(account, 700, MIDNIGHT - 12 * DAY)
    Account.objects.filter(pk=account.pk).update(state="deleted", state_read_at=MIDNIGHT - 11 * DAY)
    period_ends.assess_due(now=MIDNIGHT - 11 * DAY)
    found = figure(account)
    assert (found.start_on, found.end_on, found.month) == (START_ON, END_ON, START_ON)
    assert (found.status, found.reason, found.used, found.high) == ("interval", "deleted", 700, 2500)
    period_ends.assess_due(now=MIDNIGHT + 40 * DAY)
    assert UsagePeriod.objects.filter(account=account).count() == 1, "no gaps after it"


def test_a_restarted_period_ends_on_the_day_before() -> None:
    account = AccountFactory()
    sells(account, "small", 1000)
    has(account, "small", seen_at=MIDNIGHT - 60 * DAY)
    read(account, 700, MIDNIGHT - 12 * DAY)
    read(account, 5, MIDNIGHT - 9 * DAY - 4 * HOURS, start=date(2026, 11, 20), end=date(2026, 12, 19))
    first, second = UsagePeriod.objects.filter(account=account).order_by("start_on")
    assert (first.start_on, first.end_on) == (START_ON, date(2026, 11, 19))
    assert (second.start_on, second.end_on) == (date(2026, 11, 20), date(2026, 12, 19))
    # It ended at some moment until the new one was read, not at midnight.
    days = {f"2026-11-{day:02}": 0 for day in range(1, 29)} | {"2026-10-31": 0, "2026-11-10": 700, "2026-11-22": 30}
    StatisticsReading.objects.create(
        account=account, as_of=SETTLED, first_on=date(2026, 10, 31), last_on=date(2026, 11, 28), days=days
    )
    figures.recompute([first.pk], now=SETTLED, batch=next_batch(), cause=figures.FigureCause.STATISTICS)
    first.refresh_from_db()
    assert (first.status, first.used, first.high) == ("interval", 700, 730)


def test_late_answers_hide_the_last_mail_of_a_restarted_period() -> None:
    """They state the earlier end, a day before the restart: mail until the restart belongs to the period."""
    account = AccountFactory()
    sells(account, "small", 1000)
    has(account, "small", seen_at=MIDNIGHT - 60 * DAY)
    restart = datetime(2026, 11, 16, 3, tzinfo=UTC)
    read(account, 700, restart - 5 * HOURS)
    for hours, used in ((0, 720), (1, 730)):
        read(account, used, restart + hours * HOURS, end=date(2026, 11, 14))
    period = UsagePeriod.objects.get(account=account)
    assert (period.end_on, period.status) == (date(2026, 11, 14), "open")
    read(account, 5, restart + 18 * HOURS, start=date(2026, 11, 15), end=date(2026, 12, 14))
    days = {f"2026-11-{day:02}": 0 for day in range(1, 29)} | {
        "2026-10-31": 0, "2026-11-10": 720, "2026-11-15": 20, "2026-11-16": 300,
    }  # fmt: skip
    StatisticsReading.objects.create(
        account=account, as_of=SETTLED, first_on=date(2026, 10, 31), last_on=date(2026, 11, 28), days=days
    )
    figures.recompute([period.pk], now=SETTLED, batch=next_batch(), cause=figures.FigureCause.STATISTICS)
    period.refresh_from_db()
    assert (period.status, period.used, period.high) == ("interval", 730, 1050)


@pytest.mark.parametrize("last", [date(2027, 2, 27), date(2027, 2, 20)])
def test_a_short_month_does_not_lose_the_anchor_day(last: date) -> None:
    account = AccountFactory()
    whole = [(date(2026, 12, 31), date(2027, 1, 30)), (date(2027, 1, 31), last)]
    for start, end in whole:
        read(account, 1, datetime(start.year, start.month, start.day, 12, tzinfo=UTC), start=start, end=end)
    start_only = Usage(
        source=UsageSource.OVERVIEW_JSON, used=2, allowed=1000, period_start_on=date(2027, 2, 28), raw={"used": 2}
    )
    at = datetime(2027, 3, 5, tzinfo=UTC)
    store_readings([AccountReading(account.pk, start_only, at)], run=None)
    assert UsagePeriod.objects.get(start_on=date(2027, 2, 28)).end_on == date(2027, 3, 30)


def test_an_old_period_read_before_both_midnights_counts_not() -> None:
    """Under Pacific time the period goes on until 08:01 UTC: equal readings before prove nothing."""
    account = AccountFactory()
    read(account, 700, LAST)
    for hours in (0.1, 8.2, 16.1):
        read(account, 700, MIDNIGHT + hours * HOURS)
        assert figure(account).status != "final"
    period_ends.assess_due(now=MIDNIGHT + 16.1 * HOURS)
    assert figure(account).status == "interval"
    read(account, 700, MIDNIGHT + 16.2 * HOURS)
    assert (figure(account).status, figure(account).reason) == ("final", "read_after_end")
