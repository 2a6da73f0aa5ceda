"""Turns: what a bucket allows, who goes before whom, and what the provider's own words do to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from portal.providers import CAPABILITIES
from portal.providers.rate_limit import UNLIMITED, UTILIZATION, Memory, Pacing, Rate, retry_at

TEN = Rate(10.0, 5.0)


class Clock:
    """Time that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pacing(clock: Clock, ledger: Memory | None = None, **more: object) -> Pacing:
    options = {"rate": TEN, "patience": 2.0, "sleep": clock.sleep, "clock": clock} | more
    return Pacing(ledger or Memory(clock=clock), **options)  # type: ignore[arg-type]


def told(**headers: str) -> Mapping[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def epoch(seconds: float) -> str:
    return str(round(datetime.now(UTC).timestamp() + seconds))


def test_a_burst_goes_at_once_and_the_rest_at_the_rate(clock: Clock) -> None:
    pacer, went = pacing(clock), []
    for _ in range(25):
        assert pacer.wait("x", seconds=30) is None
        went.append(round(clock.now - 1000, 3))
    assert went == [0.0] * 5 + [round(n / 10, 3) for n in range(1, 21)]


@pytest.mark.parametrize("seed", range(20))
def test_never_more_in_any_stretch_of_time_than_rate_and_burst(seed: int) -> None:
    chance, clock, went = random.Random(seed), Clock(), []
    ledger = Memory(clock=clock)
    for _ in range(200):
        clock.now += chance.choice((0, 0, 0, 0.01, 0.3, 2.0))
        background = chance.random() < 0.4
        turn = ledger.take("x", rate=TEN, background=background, longest=chance.choice((0.0, 2.0)))
        if turn.taken:
            went.append(clock.now + turn.wait)
    went.sort()
    for first, begin in enumerate(went):
        for last in range(first, len(went)):
            assert last - first + 1 <= TEN.burst + TEN.per_second * (went[last] - begin) + 1e-6


def test_who_would_wait_too_long_is_told_when_and_takes_nothing(clock: Clock) -> None:
    ledger = Memory(clock=clock)
    patient, hasty = pacing(clock, ledger), pacing(clock, ledger, patience=0.05)
    for _ in range(5):
        patient.wait("x", seconds=30)
    until = hasty.wait("x", seconds=30)
    assert until is not None
    assert (until - datetime.now(UTC)).total_seconds() == pytest.approx(0.1, abs=0.02)
    assert hasty.wait("x", seconds=30) is not None
    before = clock.now
    assert patient.wait("x", seconds=30) is None
    assert clock.now - before == pytest.approx(0.1)
    assert pacing(clock, ledger, patience=9).wait("x", seconds=0.05) is not None, "the call's own time is the shorter"


def test_the_night_has_all_that_people_leave_and_they_never_wait(clock: Clock) -> None:
    ledger = Memory(clock=clock)
    nightly, person = pacing(clock, ledger, background=True, patience=15.0), pacing(clock, ledger)
    until = clock.now + 60
    counts: Counter[str] = Counter()
    while clock.now < until:
        assert nightly.wait("x", seconds=30) is None
        counts["nightly"] += 1
        if counts["nightly"] % 40 == 0:
            before = clock.now
            assert person.wait("x", seconds=30) is None
            assert clock.now == before, "a person never queues behind the night"
    people = counts["nightly"] // 40
    assert counts["nightly"] + people == pytest.approx(60 * TEN.per_second, abs=TEN.burst)


def test_the_night_waits_for_people_and_takes_what_they_leave(clock: Clock) -> None:
    ledger = Memory(clock=clock)
    nightly, person = pacing(clock, ledger, background=True, patience=0.0), pacing(clock, ledger)
    for _ in range(5):
        assert person.wait("x", seconds=30) is None
    for _ in range(40):  # people use all there is
        assert person.wait("x", seconds=30) is None
        assert nightly.wait("x", seconds=30) is not None
    clock.now += 1
    assert nightly.wait("x", seconds=30) is None


def test_classes_of_endpoints_are_counted_each_or_together(clock: Clock) -> None:
    for each, waits in ((True, 0.0), (False, 0.1)):
        pacer = pacing(clock, each_endpoint=each)
        for _ in range(5):
            pacer.wait("one", seconds=30)
        before = clock.now
        pacer.wait("two", seconds=30)
        assert clock.now - before == pytest.approx(waits, abs=0.002)


def test_what_one_is_told_holds_for_all_who_share(clock: Clock) -> None:
    ledger = Memory(clock=clock)
    one, other, elsewhere = pacing(clock, ledger), pacing(clock, ledger), pacing(clock, ledger, name="b")
    until = one.learn("x", 429, told(retry_after="17"))
    assert until is not None
    assert other.wait("x", seconds=30) == pytest.approx(until, abs=timedelta(seconds=1))
    assert elsewhere.wait("x", seconds=30) is None
    clock.now += 17.1
    assert other.wait("x", seconds=30) is None


def test_a_reserved_turn_waits_if_a_refusal_came_meanwhile(clock: Clock) -> None:
    ledger = Memory(clock=clock)
    one = pacing(clock, ledger)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if not refused:
            refused.append(one.learn("x", 429, told(retry_after="60")))

    refused: list[datetime | None] = []
    other = pacing(clock, ledger, sleep=sleep)
    for _ in range(5):
        one.wait("x", seconds=30)
    assert other.wait("x", seconds=30) is not None
    assert refused


def test_refusals_without_a_time_back_off_until_an_answer(clock: Clock) -> None:
    pacer = pacing(clock, pause=1.0)

    def waits() -> float:
        until = pacer.learn("x", 429, {})
        assert until is not None
        return round((until - datetime.now(UTC)).total_seconds())

    assert [waits() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    pacer.learn("x", 200, {})
    assert waits() == 1


def test_the_provider_may_say_less_is_left_than_we_think(clock: Clock) -> None:
    """Its last fifth belongs to people, whatever our own count says; nothing left belongs to nobody."""
    ledger = Memory(clock=clock)
    nightly, person = pacing(clock, ledger, background=True), pacing(clock, ledger)
    nightly.learn("x", 200, told(x_ratelimit_limit="500", x_ratelimit_remaining="100", x_ratelimit_reset=epoch(50)))
    assert nightly.wait("x", seconds=30) is None
    nightly.learn("x", 200, told(x_ratelimit_limit="500", x_ratelimit_remaining="99", x_ratelimit_reset=epoch(50)))
    assert nightly.wait("x", seconds=30) is not None
    assert person.wait("x", seconds=30) is None
    person.learn("x", 200, told(x_ratelimit_limit="500", x_ratelimit_remaining="0", x_ratelimit_reset=epoch(50)))
    assert person.wait("x", seconds=30) is not None
    clock.now += 51
    assert (nightly.wait("x", seconds=30), person.wait("x", seconds=30)) == (None, None)


def test_a_window_used_as_planned_holds_nothing(clock: Clock) -> None:
    """At the end of a minute little is left of it, and the pace needs no more."""
    nightly = pacing(clock, background=True, patience=0)
    nightly.learn("x", 200, told(x_ratelimit_limit="600", x_ratelimit_remaining="55", x_ratelimit_reset=epoch(5)))
    assert nightly.wait("x", seconds=30) is None
    nightly.learn("x", 200, told(x_ratelimit_limit="600", x_ratelimit_remaining="10", x_ratelimit_reset=epoch(5)))
    assert nightly.wait("x", seconds=30) is not None


def test_a_reset_that_is_over_holds_nothing(clock: Clock) -> None:
    pacer = pacing(clock, patience=0)
    pacer.learn("x", 200, told(x_ratelimit_remaining="0", x_ratelimit_reset=epoch(-3)))
    assert pacer.wait("x", seconds=30) is None


@pytest.mark.parametrize("skew", [-7200, 0, 7200])
def test_a_reset_is_measured_by_the_providers_own_clock(skew: int) -> None:
    now = datetime.now(UTC)
    theirs = (now + timedelta(seconds=skew)).replace(microsecond=0)
    headers = told(date=format_datetime(theirs, usegmt=True), x_ratelimit_reset=str(int(theirs.timestamp()) + 20))
    assert (retry_at(headers, now) - now).total_seconds() == pytest.approx(20, abs=1)


@pytest.mark.parametrize(
    ("after", "reset", "seconds"),
    [
        ("30", "30", 30),  # both as seconds
        ("30", "", 30),
        ("", "30", 30),
        ("2.5", "", 2.5),
        ("0", "", 1),
        (40, "", 40),  # as an HTTP date
        (-40, "", 1),
        (40, "90", 40),
        ("30", 90, 30),  # beside an epoch
        ("soon", 90, 90),
        ("soon", "", 60),
        ("Wed, 99 Xxx 2026 07:28:00 GMT", "", 60),
        (10**6, "", 300),
    ],
)
@pytest.mark.parametrize("skew", [0, 7200])
def test_when_to_try_again_in_every_form(after: str | int, reset: str | int, seconds: float, skew: int) -> None:
    now = datetime.now(UTC)
    theirs = (now + timedelta(seconds=skew)).replace(microsecond=0)
    if isinstance(after, int):
        after = format_datetime(theirs + timedelta(seconds=after), usegmt=True)
    if isinstance(reset, int):
        reset = str(int(theirs.timestamp()) + reset)
    headers = told(date=format_datetime(theirs, usegmt=True), retry_after=after, x_ratelimit_reset=reset)
    assert (retry_at(headers, now) - now).total_seconds() == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 21 Oct 2026 07:28:00 -0000", "0", "Mon, 99 Xxx 9999 99:99:99"])
def test_a_clock_that_cannot_be_read_is_ours(date: str) -> None:
    now = datetime.now(UTC)
    headers = told(date=date, x_ratelimit_reset=str(int(now.timestamp()) + 20))
    assert (retry_at(headers, now) - now).total_seconds() == pytest.approx(20, abs=1)


@pytest.mark.parametrize("kind", sorted(CAPABILITIES))
def test_what_a_kind_takes_fits_what_it_promises(kind: str) -> None:
    """In any minute no more than the documented number, the burst beyond it set aside where it is promised."""
    pace = CAPABILITIES[kind].pace
    a_minute = pace.per_minute * UTILIZATION + pace.burst
    assert a_minute <= pace.per_minute * (1.0 if pace.each_endpoint else 1.02)


def test_without_a_pace_nothing_is_counted(clock: Clock) -> None:
    pacer = Pacing(Memory(clock=clock), rate=UNLIMITED)
    assert all(pacer.wait("x", seconds=30) is None for _ in range(1000))
    assert clock.now == 1000
