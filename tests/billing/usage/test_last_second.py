"""Mail of the last minute of a billing period, with a provider that behaves as SendGrid may: what the figure says of it
from the first reading on until statistics have settled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.utils import timezone

from billing.models import MidnightReading, SyncRun, UsagePeriod
from billing.usage.midnights import calibration_of
from customers.connections.catalogue import refresh_catalogue
from customers.models import Account, AccountSpan
from portal.commands import Command
from tests.billing.conftest import Meter

pytestmark = pytest.mark.long

START_ON, END_ON = date(2026, 12, 1), date(2026, 12, 31)
BURST_AT = "2026-12-31T23:58:30Z"
TRUTH = 121_000


def has(account: Account, package: str = "essentials-100k") -> Account:
    """Store what the account has, as the portal does when it links it."""
    rows = [{"name": f"postkeeper.ei.{package}.v1", "type": "package", "quantity": 1}]
    for kind, value, name in (("offerings", rows, rows[0]["name"]), ("state", "active", "")):
        AccountSpan.objects.create(
            account=account, kind=kind, value=value, package=name, source="linked", seen_at=account.created_at
        )
    return account


def moments() -> Iterator[datetime]:
    """The nights of December, every midnight UTC around its end, and what runs around it."""
    day = datetime(2026, 12, 20, tzinfo=UTC)
    while day.date() < date(2027, 1, 6):
        if day.date() > date(2026, 12, 22):
            yield day + timedelta(seconds=10)
        if day.date() == date(2027, 1, 1):
            yield day + timedelta(minutes=1)
        yield day + timedelta(minutes=31)
        if day.date() == date(2027, 1, 1):
            yield day + timedelta(hours=8, minutes=2)
        if day.day in (2, 4):
            yield day + timedelta(hours=12)
        if day.date() == END_ON:
            yield day + timedelta(hours=23)
            yield day + timedelta(hours=23, minutes=55)
        day += timedelta(days=1)


def sender(meter: Meter, package: str = "essentials-100k", **more: object) -> Account:
    offerings = [{"name": f"postkeeper.ei.{package}.v1", "type": "package", "quantity": 1}]
    account = meter.account(per_day=999, offerings=offerings, **more)
    # A day with more mail than others: at one rate alone, a counter that lags would look the same.
    meter.sandbox.admin.add_usage(account.provider_id or "", 31, at="2026-12-25T12:00:00Z")
    meter.sandbox.admin.add_usage(account.provider_id or "", 90_000, at=BURST_AT)
    return has(account, package)


def truth_of(meter: Meter, account: Account) -> int:
    cycles = meter.sandbox.admin.truth(account.provider_id)[0]["cycles"]
    return next(int(each["used"]) for each in cycles if each["start"] == START_ON.isoformat())


def test_mail_of_the_last_minute_is_never_lost(meter: Meter) -> None:
    refresh_catalogue(Command(None, now=timezone.now()), connection=meter.connection)
    calibrated = sender(meter)
    elsewhere = sender(meter, timezone="Asia/Tokyo")  # its customer's time zone is not known
    meter.sandbox.admin.add_usage(elsewhere.provider_id or "", 70, at="2026-12-25T20:00:00Z")
    with_subusers = sender(meter, "pro-100k", timezone="Asia/Tokyo")
    meter.sandbox.admin.add_usage(with_subusers.provider_id or "", 35, at="2026-12-24T20:00:00Z")
    accounts = (calibrated, elsewhere, with_subusers)
    seen: dict[int, set[str]] = {each.pk: set() for each in accounts}

    for moment in moments():
        meter.tick(moment)
        for period in UsagePeriod.objects.filter(start_on=START_ON, account__in=accounts):
            seen[period.account_id].add(period.status)
            if period.is_over and moment > datetime.combine(END_ON, time(23, 59), tzinfo=UTC):
                truth = truth_of(meter, period.account)
                assert period.used is not None
                assert period.high is not None
                assert period.used <= truth <= period.high, (moment, period.account_id)

    figures = {each.account_id: each for each in UsagePeriod.objects.filter(start_on=START_ON)}
    exact = figures[calibrated.pk]
    assert (exact.status, exact.used, exact.high) == ("derived", TRUTH, TRUTH)
    assert (exact.overage, exact.overage_high) == (21_000, 21_000)
    assert seen[calibrated.pk] == {"open", "interval", "derived"}
    for other in (elsewhere, with_subusers):
        assert seen[other.pk] == {"open", "interval"}, "never final"
        assert (figures[other.pk].used or 0) < TRUTH
    # Statistics leave nothing out where no subuser can exist: the days touched give the most.
    assert figures[elsewhere.pk].high < figures[with_subusers.pk].high == 250_000
    assert [each.difference for each in calibration_of(calibrated, on=END_ON).windows] == [0] * 7
    assert not calibration_of(elsewhere, on=END_ON).is_calibrated
    assert SyncRun.objects.filter(kind="statistics", state="complete").count() == 2
    assert MidnightReading.objects.filter(account=calibrated).count() >= 9
    versions = list(exact.versions.order_by("n").values_list("status", flat=True))
    assert versions[-1] == "derived"
    assert "final" not in versions
