"""The time zone of billing periods, learned from roll-overs, contradicted, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from billing.models import ResetZone, UsagePeriod
from billing.usage import period_ends, reset_zones
from billing.usage.assess import PACIFIC
from billing.usage.reset_zones import RollOver, known_zone, zones_of
from billing.usage.snapshots import AccountReading, store_readings
from customers.models import Account, Connection
from portal.providers import Usage, UsageSource
from tests.support.factories import AccountFactory, ConnectionFactory

MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
END_ON = date(2026, 11, 30)
HOURS = timedelta(hours=1)
MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("old", "new", "zone"),
    [
        (-5 * MINUTES, 1 * MINUTES, "UTC"),
        (-20 * HOURS, 7.9 * HOURS, "UTC"),
        (-5 * MINUTES, 8.1 * HOURS, ""),  # encloses both
        (7.95 * HOURS, 8.05 * HOURS, PACIFIC.key),
        (31 * MINUTES, 8.05 * HOURS, ""),  # an answer that lingers for hours would look the same
        (7.95 * HOURS, 24 * HOURS, ""),
        (9 * HOURS, 9.5 * HOURS, ""),
        (-5 * MINUTES, -1 * MINUTES, ""),  # the provider restarted the period
    ],
)
def test_a_roll_over_proves_a_zone(old: timedelta, new: timedelta, zone: str) -> None:
    assert RollOver(1, END_ON, MIDNIGHT + old, MIDNIGHT + new).zone == zone


def test_midnight_pacific_time_moves_with_daylight_saving() -> None:
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    rolled = RollOver(1, date(2026, 6, 30), summer + 6.95 * HOURS, summer + 7.05 * HOURS)
    assert rolled.zone == PACIFIC.key


def in_utc(connection: Connection, month: int, count: int = 1) -> list[RollOver]:
    midnight = datetime(2026, month, 1, tzinfo=UTC)
    end_on = midnight.date() - timedelta(days=1)
    return [RollOver(connection.pk, end_on, midnight - MINUTES, midnight + MINUTES)] * count


def in_pacific(connection: Connection, month: int, count: int = 1) -> list[RollOver]:
    midnight = reset_zones.pacific_midnight(date(2026, month, 1))
    end_on = date(2026, month, 1) - timedelta(days=1)
    return [RollOver(connection.pk, end_on, midnight - MINUTES, midnight + MINUTES)] * count


@pytest.fixture
def connection(db: None) -> Iterator[Connection]:
    return ConnectionFactory()


def zone_of(connection: Connection) -> str:
    return zones_of([connection.pk]).get(connection.pk, "")


def test_three_agreeing_roll_overs_are_enough(connection: Connection) -> None:
    reset_zones.learn(in_utc(connection, 8, 2))
    assert zone_of(connection) == ""
    reset_zones.learn(in_utc(connection, 8))
    assert zone_of(connection) == "UTC"


def test_one_contradiction_undoes_it_for_a_period(connection: Connection) -> None:
    reset_zones.learn(in_utc(connection, 8, 3))
    reset_zones.learn(in_pacific(connection, 9))
    assert zone_of(connection) == ""
    reset_zones.learn(in_utc(connection, 9, 5))
    assert zone_of(connection) == "", "the contradiction is of the same month"
    reset_zones.learn(in_utc(connection, 10, 1))
    assert zone_of(connection) == ""
    reset_zones.learn(in_utc(connection, 11, 1))
    assert zone_of(connection) == "UTC"


def test_a_provider_that_changes_its_zone_is_learned_again(connection: Connection) -> None:
    reset_zones.learn(in_utc(connection, 7, 50))
    reset_zones.learn(in_pacific(connection, 8, 50))
    assert zone_of(connection) == ""
    reset_zones.learn(in_pacific(connection, 9, 1))
    assert zone_of(connection) == PACIFIC.key


def test_mixed_accounts_never_have_one_zone(connection: Connection) -> None:
    for month in range(3, 12):
        reset_zones.learn([*in_utc(connection, month, 4), *in_pacific(connection, month, 4)])
        assert zone_of(connection) == ""


# --- From readings to figures -------------------------------------------------------------------------------------


def read(account: Account, used: int, at: datetime, *, start: date = date(2026, 11, 1), end: date = END_ON) -> None:
    usage = Usage(
        source=UsageSource.CREDITS,
        used=used,
        allowed=1000,
        period_start_on=start,
        period_end_on=end,
        raw={"used": used, "start": str(start)},
    )
    store_readings([AccountReading(account.pk, usage, at)], run=None)


def roll_over(account: Account, old_at: datetime, new_at: datetime) -> None:
    read(account, 10, old_at)
    read(account, 0, new_at, start=MIDNIGHT.date(), end=date(2026, 12, 31))


def test_readings_of_many_accounts_teach_the_zone(connection: Connection) -> None:
    for _ in range(3):
        account = AccountFactory(connection=connection)
        roll_over(account, MIDNIGHT - 5 * MINUTES, MIDNIGHT + MINUTES)
        read(account, 1, MIDNIGHT + 2 * MINUTES, start=MIDNIGHT.date(), end=date(2026, 12, 31))
    row = ResetZone.objects.get(connection=connection)
    assert (row.utc, row.utc_on, row.pacific) == (3, END_ON, 0), "a roll-over counts once"


def test_a_restarted_period_teaches_nothing(connection: Connection) -> None:
    account = AccountFactory(connection=connection)
    read(account, 10, MIDNIGHT - 100 * HOURS)
    read(account, 0, MIDNIGHT - 90 * HOURS, start=date(2026, 11, 27), end=date(2026, 12, 26))
    assert not ResetZone.objects.exists()


def test_figures_follow_a_zone_that_was_learned_or_undone(connection: Connection) -> None:
    read_after = reset_zones.pacific_midnight(MIDNIGHT.date()) + MINUTES
    account = AccountFactory(connection=connection, state="stopped_by_us", state_read_at=MIDNIGHT + HOURS)
    account.spans.create(kind="state", value="stopped_by_us", source="linked", seen_at=MIDNIGHT - 48 * HOURS)
    roll_over(account, MIDNIGHT - 5 * MINUTES, read_after)
    period = UsagePeriod.objects.get(end_on=END_ON)
    assert period.status == "interval", "it was seen stopped until 01:00 UTC, and may end at 08:01"

    reset_zones.learn(in_utc(connection, 12, 3))
    period_ends.assess_due(now=MIDNIGHT + 10 * HOURS)
    period.refresh_from_db()
    assert (period.status, period.reason) == ("final", "not_sending")

    reset_zones.learn(in_pacific(connection, 12, 1))
    period_ends.assess_due(now=MIDNIGHT + 11 * HOURS)
    period.refresh_from_db()
    assert period.status == "interval"
    row = ResetZone.objects.get()
    assert (row.applied, row.position, known_zone(row)) == ("", None, "")
