"""The usage engine alone: cycles, ceilings, and figures that add up at every moment."""

from datetime import date, timedelta
from itertools import pairwise

import pytest

from portal.sandbox.clock import DAY, midnight, moment_of
from portal.sandbox.sendgrid.credits import credits_at
from portal.sandbox.sendgrid.resets import Billing, Period, period_at, periods
from portal.sandbox.sendgrid.statistics import requests_by_day
from portal.sandbox.sendgrid.usage import Added, History, Moment, PeriodUse, Sending, period_use

BEGIN = moment_of("2026-03-10T06:30:00Z")


def history(
    *changes: Moment, per_day: float = 0, allotment: int = 100_000, anchor_day: int = 10, **more: object
) -> History:
    sending = Sending(per_day=per_day, since=BEGIN)
    first = Moment(BEGIN, active=True, allotment=allotment, sending=sending)
    return History(moments=[first, *changes], added=[], billing=Billing(anchor_day), **more)  # type: ignore[arg-type]


def period_of(day: str, anchor_day: int = 10) -> Period:
    return period_at(Billing(anchor_day), moment_of(day))


def use_of(of: History, day: str, now: float) -> PeriodUse:
    return period_use(of, period_at(of.billing, moment_of(day)), now)


def by_day(of: History, first: date, last: date, now: float) -> dict[date, int]:
    return requests_by_day(of, "UTC", first, last, now)


@pytest.mark.parametrize(
    ("anchor_day", "day", "start", "end"),
    [
        (1, "2026-03-01", "2026-03-01", "2026-04-01"),
        (3, "2026-03-02", "2026-02-03", "2026-03-03"),
        (3, "2026-03-03", "2026-03-03", "2026-04-03"),
        (28, "2026-02-28", "2026-02-28", "2026-03-28"),
        (29, "2026-02-28", "2026-02-28", "2026-03-29"),
        (29, "2028-02-29", "2028-02-29", "2028-03-29"),
        (30, "2026-02-27", "2026-01-30", "2026-02-28"),
        (30, "2026-03-30", "2026-03-30", "2026-04-30"),
        (31, "2026-02-28", "2026-02-28", "2026-03-31"),
        (31, "2026-04-29", "2026-03-31", "2026-04-30"),
        (31, "2026-12-31", "2026-12-31", "2027-01-31"),
        (31, "2027-01-15", "2026-12-31", "2027-01-31"),
    ],
)
def test_cycles_are_monthly_and_clamp_to_short_months(anchor_day: int, day: str, start: str, end: str) -> None:
    found = period_of(day, anchor_day)
    first, after = date.fromisoformat(start), date.fromisoformat(end)
    assert found == Period(first, after, midnight(first), midnight(after))


@pytest.mark.parametrize("anchor_day", [1, 3, 28, 29, 30, 31])
def test_cycles_follow_each_other_without_gap_or_overlap(anchor_day: int) -> None:
    billing = Billing(anchor_day)
    known = list(periods(billing, BEGIN, moment_of("2030-01-01")))
    assert len(known) > 45
    assert all((before.end, before.resets_at) == (after.start, after.starts_at) for before, after in pairwise(known))
    assert all(period_at(billing, period.resets_at - 1) == period for period in known)


def test_the_first_day_counts_from_the_hour_of_birth() -> None:
    use = use_of(history(per_day=2400), "2026-03-10", midnight(date(2026, 3, 11)))
    assert use.used == 1750  # 17.5 of 24 hours


def test_mail_goes_out_until_the_last_minute_of_a_cycle() -> None:
    end = period_of("2026-03-20").resets_at
    of = history(per_day=144_000, allotment=10**7)
    last_minutes = [use_of(of, "2026-03-20", end - back).used for back in (120, 60, 0)]
    assert last_minutes[1] - last_minutes[0] == 100
    assert last_minutes[2] - last_minutes[1] == 100


def test_usage_never_shrinks_in_a_period_and_resets_at_its_end() -> None:
    shrunk = Moment(BEGIN + 9 * DAY, active=True, allotment=50_000, sending=Sending(per_day=9_000, since=BEGIN))
    of = history(shrunk, per_day=9_000)
    seen = [use_of(of, "2026-03-10", BEGIN + step * 3_571).used for step in range(700)]
    assert seen == sorted(seen)
    at_reset = period_of("2026-03-10").resets_at
    assert use_of(of, "2026-04-10", at_reset).used == 0
    assert use_of(of, "2026-04-10", at_reset + 3600).used == 375


def test_sending_stops_at_two_and_a_half_times_the_allotment() -> None:
    of, last = history(per_day=50_000), midnight(date(2026, 4, 10)) - 1
    known = credits_at(of, last)
    assert (known.used, known.allowed, known.overage, known.remain) == (250_000, 100_000, 150_000, 0)
    assert use_of(of, "2026-03-10", last).attempted > 1_500_000


def test_a_downgrade_stops_sending_but_takes_nothing_back() -> None:
    smaller = Moment(BEGIN + 4 * DAY, active=True, allotment=10_000, sending=Sending(per_day=20_000, since=BEGIN))
    before = use_of(history(per_day=20_000), "2026-03-10", BEGIN + 4 * DAY).used
    after = use_of(history(smaller, per_day=20_000), "2026-03-10", BEGIN + 9 * DAY)
    assert (after.used, after.allowed) == (before, 10_000)


@pytest.mark.parametrize("held", ["test", "free"])
def test_test_accounts_and_free_packages_stop_at_a_hundred_a_day(held: str) -> None:
    of = history(per_day=5_000, test=held == "test")
    if held == "free":
        first = of.moments[0]
        of = History([Moment(BEGIN, active=True, allotment=3_000, free=True, sending=first.sending)], [], Billing(10))
    found = by_day(of, date(2026, 3, 10), date(2026, 3, 20), moment_of("2026-03-21"))
    assert set(found.values()) == {100}
    assert len(found) == 11


def test_nothing_is_sent_while_the_account_is_stopped() -> None:
    stop, start = BEGIN + 2 * DAY, BEGIN + 5 * DAY
    sending = Sending(per_day=2_400, since=BEGIN)
    of = history(
        Moment(stop, active=False, allotment=100_000, sending=sending),
        Moment(start, active=True, allotment=100_000, sending=sending),
        per_day=2_400,
    )
    assert [use_of(of, "2026-03-10", now).used for now in (stop, start, start + 3_600)] == [4_800, 4_800, 4_900]


def test_added_usage_counts_once_and_at_once() -> None:
    at = BEGIN + 3 * DAY
    of = History(history().moments, [Added(midnight(date(2026, 3, 11)), 5), Added(at, 77)], Billing(10))
    end = period_of("2026-03-10").resets_at
    assert [use_of(of, "2026-03-10", now).used for now in (at - 1, at, end)] == [5, 82, 82]
    assert by_day(of, date(2026, 3, 10), date(2026, 3, 31), end) == {
        date(2026, 3, 11): 5,
        date(2026, 3, 13): 77,
    }


def test_days_add_up_to_the_cycle_whatever_the_shape() -> None:
    shape = Sending(12_345.6, (1.3, 1, 1, 0.9, 1.1, 0.2, 0), 0.07, 0.4, 99, since=BEGIN)
    of = History([Moment(BEGIN, active=True, allotment=10**9, sending=shape)], [], Billing(31))
    now = BEGIN + 200.37 * DAY
    for period in periods(of.billing, BEGIN, now):
        found = by_day(of, period.start, period.end - timedelta(days=1), now)
        assert sum(found.values()) == period_use(of, period, now).used > 0
    sundays = [day for day in by_day(of, date(2026, 3, 10), date(2026, 9, 1), now) if day.weekday() == 6]
    assert sundays == []


def test_the_same_seed_sends_the_same_and_another_does_not() -> None:
    days = [date(2026, 5, 1) + timedelta(days=step) for step in range(30)]
    volumes = [[Sending(1_000, jitter=0.3, seed=seed).volume(day) for day in days] for seed in (1, 1, 2)]
    assert volumes[0] == volumes[1] != volumes[2]
    assert all(700 <= volume <= 1_300 for volume in volumes[0])
    assert len(set(volumes[0])) > 20


def test_an_account_without_history_has_sent_nothing() -> None:
    nothing = History([], [], Billing(1))
    assert by_day(nothing, date(2026, 3, 1), date(2026, 3, 31), BEGIN) == {}
    assert credits_at(nothing, BEGIN).used == use_of(nothing, "2026-03-10", BEGIN).used == 0
