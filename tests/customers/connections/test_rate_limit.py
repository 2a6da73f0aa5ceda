"""One pace over all processes: counted in a real Redis, and what is left of it when that is slow, frozen or gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from customers.connections import client as connection_client
from customers.connections import rate_limit
from customers.connections.rate_limit import PEER_SECONDS, Apart, Shared
from portal.providers import NotSent
from portal.providers.rate_limit import MOST_TOGETHER, UTILIZATION, Memory, Rate, TokenBucket
from tests.customers.conftest import Desk
from tests.journeys.processes import PASSWORD, installation
from tests.journeys.test_production_services import PERSON, Hidden, Visitor
from tests.support.factories import ConnectionFactory
from tests.support.redis import Redis
from tests.support.sandbox import SandboxProcess

ROOT = Path(__file__).resolve().parents[3]
SLOW, FAST = Rate(0.5, 3.0), Rate(10.0, 5.0)
# `make limits` sets five minutes.
ROUND_SECONDS = float(os.environ.get("PACE_SECONDS", "10"))
ACCOUNT = """
from tests.support.factories import AccountFactory
print(AccountFactory().public_id)
"""


@contextmanager
def frozen(server: Redis) -> Iterator[None]:
    """Its connections stay open and nothing comes back."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def ledgers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[TokenBucket, TokenBucket]:
    """Two that keep one book, as two processes do."""
    if request.param == "memory":
        return (Memory(),) * 2
    monkeypatch.setattr(rate_limit, "REDIS_SECONDS", 5.0)  # a busy machine is not a lost Redis
    url = request.getfixturevalue("redis_server").url
    return Shared(url), Shared(url)


@pytest.fixture
def ledger(ledgers: tuple[TokenBucket, TokenBucket]) -> TokenBucket:
    return ledgers[0]


# -- both ledgers keep the same book


def test_after_a_burst_turns_are_reserved_ahead_or_refused(ledger: TokenBucket) -> None:
    key = uuid4().hex
    turns = [ledger.take(key, rate=SLOW, background=False, longest=4.5) for _ in range(6)]
    assert [turn.taken for turn in turns] == [True] * 5 + [False]
    assert [turn.wait for turn in turns] == pytest.approx([0, 0, 0, 2, 4, 6], abs=0.3)
    again = ledger.take(key, rate=SLOW, background=False, longest=0.0)
    assert (again.taken, again.wait) == (False, pytest.approx(6, abs=0.3)), "what was refused took nothing"
    assert ledger.take(uuid4().hex, rate=SLOW, background=False, longest=0.0).wait == 0


def test_the_background_leaves_half_of_the_burst(ledger: TokenBucket) -> None:
    key, rate = uuid4().hex, Rate(0.5, 5.0)
    turns = [ledger.take(key, rate=rate, background=True, longest=60.0) for _ in range(5)]
    assert sum(turn.taken for turn in turns) in (2, 3), "one by one, or two at a time through Redis"
    assert not turns[-1].taken
    assert 0 < turns[-1].wait <= 4.1, "nothing is booked ahead"
    people = [ledger.take(key, rate=rate, background=False, longest=0.0).taken for _ in range(2)]
    assert people == [True, True], "people don't wait for it"


def test_a_hold_is_for_all_and_is_never_shortened(ledgers: tuple[TokenBucket, TokenBucket]) -> None:
    key, (told, other) = uuid4().hex, ledgers
    told.hold(key, 20.0, background_only=False)
    told.hold(key, 5.0, background_only=False)
    assert other.held(key)
    turn = other.take(key, rate=FAST, background=False, longest=2.0)
    assert (turn.taken, turn.wait) == (False, pytest.approx(20, abs=0.3))


def test_a_hold_of_the_background_is_not_one_of_people(ledgers: tuple[TokenBucket, TokenBucket]) -> None:
    key, (told, other) = uuid4().hex, ledgers
    told.hold(key, 20.0, background_only=True)
    assert not other.held(key)
    assert other.take(key, rate=FAST, background=False, longest=0.0).taken
    turn = other.take(key, rate=FAST, background=True, longest=60.0)
    assert (turn.taken, turn.wait) == (False, pytest.approx(20, abs=0.3))


# -- through Redis


@pytest.mark.redis
def test_two_ledgers_of_one_redis_are_one(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "REDIS_SECONDS", 5.0)
    key, (one, other) = uuid4().hex, (Shared(redis_server.url), Shared(redis_server.url))
    taken = [each.take(key, rate=SLOW, background=False, longest=0.0).taken for each in (one, other) * 3]
    assert taken == [True] * 3 + [False] * 3


@pytest.fixture
def shared(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setattr(rate_limit, "REDIS_SECONDS", 5.0)
    monkeypatch.setattr(rate_limit, "LEASE_SECONDS", 60.0)
    return Shared(redis_server.url)


def scripts_of(ledger: Shared, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what the ledger runs in Redis from now on."""
    ran: list[object] = []
    ask = ledger._ask

    def noted(*given: Any) -> Any:
        ran.append(given[2])
        return ask(*given)

    monkeypatch.setattr(ledger, "_ask", noted)
    return ran


@pytest.mark.redis
def test_the_background_takes_many_turns_with_one_script(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    key, rate = uuid4().hex, Rate(100.0, 200.0)
    ran = scripts_of(shared, monkeypatch)
    assert rate.together == MOST_TOGETHER == 50
    taken = [shared.take(key, rate=rate, background=True, longest=0.0).taken for _ in range(60)]
    assert all(taken)
    assert [arguments[3] for arguments in ran] == [1, 2, 4, 8, 16, 32]


@pytest.mark.redis
def test_turns_that_nobody_used_are_not_taken_again(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    key, rate = uuid4().hex, Rate(100.0, 200.0)
    ran = scripts_of(shared, monkeypatch)
    for _ in range(10):
        shared.take(key, rate=rate, background=True, longest=0.0)
    shared._leases[key].until = 0.0  # its time is over
    shared.take(key, rate=rate, background=True, longest=0.0)
    assert [arguments[3] for arguments in ran] == [1, 2, 4, 8, 3]


@pytest.mark.redis
def test_who_waits_for_a_lease_asks_redis_once(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    key, rate = uuid4().hex, Rate(0.1, 3.0)
    while shared.take(key, rate=rate, background=True, longest=0.0).taken:
        pass
    ran = scripts_of(shared, monkeypatch)
    waits = [shared.take(key, rate=rate, background=True, longest=0.0) for _ in range(64)]
    assert ran == []
    assert not any(turn.taken for turn in waits)
    assert all(0 < turn.wait <= 20 for turn in waits)


@pytest.mark.redis
def test_a_refusal_ends_a_lease(shared: Shared) -> None:
    key, rate = uuid4().hex, Rate(100.0, 200.0)
    assert shared.take(key, rate=rate, background=True, longest=0.0).taken
    shared.hold(key, 20.0, background_only=False)
    turn = shared.take(key, rate=rate, background=True, longest=0.0)
    assert (turn.taken, turn.wait) == (False, pytest.approx(20, abs=0.5))


@pytest.mark.redis
def test_a_lease_that_was_not_used_in_time_is_void(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "LEASE_SECONDS", 0.0)
    key, rate = uuid4().hex, Rate(100.0, 200.0)
    ran = scripts_of(shared, monkeypatch)
    for _ in range(2):
        shared.take(key, rate=rate, background=True, longest=0.0)
    assert len(ran) == 2


@pytest.mark.redis
def test_two_processes_lease_of_one_bucket(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "REDIS_SECONDS", 5.0)
    monkeypatch.setattr(rate_limit, "LEASE_SECONDS", 60.0)
    key, rate, both = uuid4().hex, Rate(0.01, 41.0), (Shared(redis_server.url), Shared(redis_server.url))
    taken = sum(each.take(key, rate=rate, background=True, longest=0.0).taken for each in both * 40)
    assert 11 <= taken <= 21, "half of the burst, whoever takes it"


@pytest.mark.redis
@pytest.mark.parametrize("how", ["frozen", "gone"])
@pytest.mark.long
def test_without_redis_each_process_limits_itself_meanwhile(
    own_redis: Redis, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limit, "LOOK_AGAIN_SECONDS", 0.5)
    monkeypatch.setattr(rate_limit, "REDIS_SECONDS", 0.4)
    ledger, key = Shared(own_redis.url), uuid4().hex
    monkeypatch.setattr(rate_limit, "_me", iter(["a", "b", "c", "d"] + ["d"] * 1000).__next__)
    for _ in range(4):
        assert ledger.take(key, rate=FAST, background=False, longest=5.0).taken
    assert ledger.peers == 4
    ledger.hold("held", 60.0, background_only=False)

    def with_trouble() -> None:
        began, taken, waits = time.monotonic(), 0, []
        while time.monotonic() - began < 2:
            asked_at = time.monotonic()
            taken += ledger.take(key, rate=FAST, background=False, longest=0.0).taken
            waits.append(time.monotonic() - asked_at)
            time.sleep(0.01)
        assert ledger.lost
        assert max(waits) < 1.0
        assert sum(wait > 0.3 for wait in waits) <= 4, "one looks now and then, the others do not wait"
        assert len(waits) > 10
        assert 3 <= taken <= 2 * FAST.per_second / 4 + FAST.burst / 4 + 1, "a quarter each, never without a limit"
        assert ledger.held("held"), "what the provider said stands"

    if how == "frozen":
        with frozen(own_redis):
            with_trouble()
    else:
        own_redis.stop(kill=True)
        with_trouble()
        own_redis.start()
    time.sleep(0.6)
    ledger.take(key, rate=FAST, background=False, longest=0.0)
    assert not ledger.lost
    said = [record.getMessage() for record in caplog.records]
    assert sum("pacing.redis_lost" in each for each in said) == 1


@pytest.mark.redis
def test_only_one_thread_waits_for_a_frozen_redis(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Shared(own_redis.url)
    ledger.take("x", rate=FAST, background=False, longest=0.0)
    with frozen(own_redis):
        ledger.take("x", rate=FAST, background=False, longest=0.0)
        assert ledger.lost
        ledger._look_again_at = 0.0
        turns = [ledger._my_turn_to_look() for _ in range(5)]
    assert turns == [True, False, False, False, False]


# -- without Redis


def take_all(folder: Path, gate: Any, counts: Any) -> None:
    """Every turn that one process gets within two seconds, once all of them have been seen."""
    ledger, key = Apart(folder), "turns"
    ledger.take("first", rate=FAST, background=False, longest=0.0)
    gate.wait(60)
    ledger._look_again_at = 0.0
    ledger.take("second", rate=FAST, background=False, longest=0.0)
    began, taken = time.monotonic(), 0
    while time.monotonic() - began < 2:
        taken += ledger.take(key, rate=FAST, background=False, longest=0.0).taken
        time.sleep(0.005)
    counts.put((taken, ledger.part))


@pytest.mark.processes
@pytest.mark.long
def test_without_redis_the_parts_of_all_processes_are_one_pace(tmp_path: Path) -> None:
    fork = get_context("fork")
    gate, counts = fork.Barrier(4), fork.Queue()
    started = [fork.Process(target=take_all, args=(tmp_path / "pace", gate, counts)) for _ in range(4)]
    for each in started:
        each.start()
    found = [counts.get(timeout=60) for _ in started]
    for each in started:
        each.join(30)
    assert sum(part for _taken, part in found) <= 1
    assert sum(taken for taken, _part in found) <= 2.5 * FAST.per_second + FAST.burst + 4


def test_a_process_that_asks_no_more_gives_its_part_back(tmp_path: Path) -> None:
    gone = tmp_path / "12"
    gone.touch()
    # From the file's own clock: under another date `time.time()` differs from it.
    os.utime(gone, (gone.stat().st_mtime - PEER_SECONDS - 5,) * 2)
    ledger = Apart(tmp_path)
    assert ledger.take("x", rate=FAST, background=False, longest=0.0).taken
    assert ledger.part == 1
    assert [each.name for each in tmp_path.iterdir()] == [str(os.getpid())]


# -- of a connection


@pytest.mark.django_db
def test_the_pace_of_a_connection_is_what_its_admin_set() -> None:
    slow = ConnectionFactory(requests_per_minute=60)
    pacer = rate_limit.pacer_of(slow)
    assert pacer._rate == Rate(UTILIZATION, 1.5)
    assert not pacer._background
    nightly = rate_limit.pacer_of(slow, background=True)
    assert (nightly._rate, nightly._background) == (pacer._rate, True)


@pytest.mark.django_db
def test_a_person_and_the_worker_share_what_the_provider_said(desk: Desk) -> None:
    page, worker = (
        connection_client.client_for(desk.connection, interactive=True),
        connection_client.client_for(desk.connection),
    )
    assert page is not worker
    desk.sandbox.admin.set_clock("2026-11-21T10:00:05+00:00")  # early in a window
    desk.sandbox.admin.switch("rate_per_minute", 1)
    next(worker.list_accounts(patience=0), None)
    with pytest.raises(NotSent) as held:
        next(page.list_accounts(patience=0), None)
    assert held.value.retry_at is not None
    assert len(desk.sandbox.admin.requests("list")) == 1, "the second one was not even sent"


# -- eight processes at one bucket


@pytest.mark.redis
@pytest.mark.long
def test_eight_processes_use_the_quota_and_are_not_refused(sandbox: SandboxProcess, redis_server: Redis) -> None:
    """A provider that takes ten a second, twenty at once, and says nothing of it in its answers."""
    sandbox.admin.switch("aha_rate", 10)
    sandbox.admin.switch("aha_burst", 20)
    counts = _round(
        kind="ahasend", base_url=sandbox.base_url, key=sandbox.ahasend_key, account=sandbox.ahasend_account,
        redis=redis_server.url, burst=10,
    )  # fmt: skip
    sent = counts["answered"] + counts["refused"]
    sys.stdout.write(f"{ROUND_SECONDS:.0f} s: {dict(counts)}, {sent / ROUND_SECONDS:.2f} a second\n")
    assert counts["answered"] >= 0.9 * 10 * ROUND_SECONDS
    assert counts["refused"] <= 0.001 * sent


def _round(**facts: object) -> Counter[str]:
    redis = Shared(str(facts["redis"]))
    redis._redis.delete("portal:pace:round:")
    done = subprocess.run(
        [sys.executable, "-m", "tests.customers.pace_round", json.dumps(facts | {"seconds": ROUND_SECONDS})],
        cwd=ROOT, env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 8
    return sum((Counter(json.loads(line)) for line in lines), Counter())


# -- a page while Redis is frozen


@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.xdist_group("journeys")
def test_a_submit_takes_under_two_seconds_while_redis_is_frozen(tmp_path: Path, own_redis: Redis) -> None:
    with installation(tmp_path / "data", REDIS_URL=own_redis.url) as portal:
        portal.prepare()
        account = f"/accounts/{portal.python(PERSON + ACCOUNT)}"
        visitor = Visitor(portal.start_web())
        visitor.post("/sign-in/", login="ada@example.com", password=PASSWORD)
        visitor.get(f"{account}/")
        form = Hidden(visitor.get(f"{account}/suspend/")).fields | {"reason": "Unpaid since May."}
        with frozen(own_redis):
            asked_at = time.monotonic()
            assert visitor.send(f"{account}/suspend/", form) == f"{account}/"
            took = time.monotonic() - asked_at
        sys.stdout.write(f"submit and the page after it, Redis frozen: {took:.2f} s\n")
        assert took < 2
        assert portal.python("from customers.models import Operation; print(Operation.objects.get().state)") == "queued"
