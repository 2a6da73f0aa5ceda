"""Keeping to a provider's pace: turns are taken from a ledger before a call, and what the provider's answers say of its
limit is written into it. Whoever shares the ledger shares the pace and the news.

A turn is counted by the *theoretical arrival time*: one number per bucket, the moment at which the bucket will be full
again. It allows what a token bucket allows, and says in one look how long to wait.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

SHORTEST, LONGEST, UNSAID = 1, 300, 60
# What may be used of the pace a provider takes: calls do not arrive in the order and at the distance they left.
UTILIZATION = 0.95
# What work nobody waits for may use of that; the rest is for people.
BACKGROUND = 0.8
MOMENT = 0.001


class Rate(NamedTuple):
    per_second: float
    burst: float

    def part(self, share: float) -> Rate:
        return Rate(self.per_second * share, max(1.0, self.burst * share))

    @property
    def interval(self) -> float:
        return 1 / self.per_second

    @property
    def slack(self) -> float:
        """How far ahead of its steady pace a burst may run, in seconds."""
        return (self.burst - 1) / self.per_second


UNLIMITED = Rate(1e9, 1e9)


class Reservation(NamedTuple):
    """`taken`: go after `wait` seconds. Otherwise nothing was taken, and it is no use to ask before."""

    taken: bool
    wait: float


class TokenBucket(Protocol):
    """Where turns are counted and holds are kept. `longest` is how far ahead a turn may be booked, in seconds; one of
    the `background` is never booked ahead, so that people only ever queue behind people."""

    def take(self, key: str, *, rate: Rate, background: Rate | None, longest: float) -> Reservation: ...

    def held(self, key: str) -> bool: ...

    def hold(self, key: str, seconds: float, *, background_only: bool) -> None: ...


@dataclass
class _Bucket:
    all: float = float("-inf")
    background: float = float("-inf")
    held: float = float("-inf")
    background_held: float = float("-inf")


class Memory:
    """The ledger of one process. `part` is its share where others count for themselves."""

    def __init__(self, *, part: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.part = part
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, key: str, *, rate: Rate, background: Rate | None, longest: float) -> Reservation:
        rate = rate.part(self.part)
        with self._lock:
            now, bucket = self._clock(), self._buckets.setdefault(key, _Bucket())
            at = max(now, bucket.all - rate.slack, bucket.held)
            if background:
                background = background.part(self.part)
                at = max(at, bucket.background - background.slack, bucket.background_held)
                longest = 0.0
            if at - now > longest:
                return Reservation(False, at - now)
            bucket.all = max(bucket.all, at) + rate.interval
            if background:
                bucket.background = max(bucket.background, at) + background.interval
            return Reservation(True, at - now)

    def held(self, key: str) -> bool:
        with self._lock:
            return self._buckets.setdefault(key, _Bucket()).held > self._clock()

    def hold(self, key: str, seconds: float, *, background_only: bool) -> None:
        with self._lock:
            bucket, until = self._buckets.setdefault(key, _Bucket()), self._clock() + seconds
            if background_only:
                bucket.background_held = max(bucket.background_held, until)
            else:
                bucket.held = max(bucket.held, until)


class Pacing:
    """A `Pacer`. Without arguments it obeys what its own answers say and knows no limit of its own.

    `name` is whose pace it is, `patience` how long a call may wait for its turn. `background`: the calls of this pacer
    are nobody's click; they get `BACKGROUND` of the rate, and only turns that are free at once.
    """

    def __init__(
        self,
        ledger: TokenBucket | None = None,
        *,
        name: str = "",
        rate: Rate = UNLIMITED,
        each_endpoint: bool = True,
        pause: float = UNSAID,
        background: bool = False,
        patience: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger or Memory()
        self._name, self._each_endpoint, self._pause = name, each_endpoint, pause
        self._rate, self._background = rate, rate.part(BACKGROUND) if background else None
        self._patience, self._sleep, self._clock = patience, sleep, clock
        self._refusals: dict[str, int] = {}

    def wait(self, endpoint: str, *, seconds: float) -> datetime | None:
        key = self._key(endpoint)
        until = self._clock() + min(self._patience, seconds)
        while True:
            left = max(until - self._clock(), 0.0)
            turn = self._ledger.take(key, rate=self._rate, background=self._background, longest=left)
            if turn.taken and turn.wait < MOMENT:
                return None
            if not turn.taken and turn.wait > left:
                return datetime.now(UTC) + timedelta(seconds=turn.wait)
            self._sleep(max(turn.wait, MOMENT))
            if turn.taken and not self._ledger.held(key):  # the provider may have asked for silence meanwhile
                return None

    def learn(self, endpoint: str, status: int, headers: Mapping[str, str]) -> datetime | None:
        key, now = self._key(endpoint), datetime.now(UTC)
        if status == 429:
            said_before = self._refusals.get(key, 0)
            self._refusals[key] = min(said_before + 1, 10)
            until = retry_at(headers, now, unsaid=min(self._pause * 2**said_before, UNSAID))
            self._ledger.hold(key, (until - now).total_seconds(), background_only=False)
            return until
        self._refusals.pop(key, None)
        remaining, resets_in = _integer(headers.get("x-ratelimit-remaining")), _resets_in(headers, now)
        if remaining is None or resets_in is None or resets_in <= 0:
            return None
        limit = _integer(headers.get("x-ratelimit-limit")) or 0
        if remaining == 0 or remaining < limit * (1 - BACKGROUND):
            self._ledger.hold(key, min(resets_in, LONGEST), background_only=remaining > 0)
        return None

    def _key(self, endpoint: str) -> str:
        return f"{self._name}:{endpoint if self._each_endpoint else ''}"


def retry_at(headers: Mapping[str, str], now: datetime, *, unsaid: float = UNSAID) -> datetime:
    """When a refused call may be tried again: `X-RateLimit-Reset` is an epoch, `Retry-After` is in seconds.

    Clamped to 1..300 seconds from now, so that neither a clock that is wrong nor a hostile answer can stop us
    for long. `unsaid`: seconds to wait where neither says anything.
    """
    reset, after = _resets_in(headers, now), _integer(headers.get("retry-after"))
    seconds = reset if reset is not None else unsaid if after is None else after
    return now + timedelta(seconds=min(max(seconds, SHORTEST), LONGEST))


def _resets_in(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until `X-RateLimit-Reset`, by the provider's own clock where the answer names it (`Date`)."""
    reset = _integer(headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        theirs = now
    return reset - (theirs if theirs.tzinfo else now).timestamp()


def _integer(value: str | None) -> int | None:
    return int(value) if value and re.fullmatch(r"\d{1,15}", value.strip(), re.ASCII) else None
