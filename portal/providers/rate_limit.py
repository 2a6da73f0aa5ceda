"""Rate limiter: reservations are taken from a token bucket before a call, and limits returned by the provider are
applied to it. Clients that share the bucket share both.

The bucket stores the *theoretical arrival time*: the moment at which it will be full again. It allows the same as a
token bucket, and gives the waiting time in one read.
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
# A smaller `X-RateLimit-Reset` is a duration: this one was in 2001.
OLDEST_EPOCH = 10**9
# Share of the provider's rate that is used: calls do not arrive in the order and at the intervals they were sent.
UTILIZATION = 0.975
# Share of the burst that background work may use. The rest is for requests of users, who so never wait for it: the rate
# itself is lent to it as long as nobody else takes a turn.
BACKGROUND = 0.5
# Part of the provider's own window that is left to users where others use up the rest of it.
RESERVE = 0.2
# Turns that background work takes at once.
MOST_TOGETHER = 50
MOMENT = 0.001


@dataclass(frozen=True)
class Pace:
    """Rate limit of a kind of provider: `per_minute` steadily, plus a `burst`.

    `each_endpoint`: applied to every endpoint group separately, else to all together. `pause`: seconds to wait after a
    429 without a retry time, doubled with each further one in a row.
    """

    per_minute: int
    burst: int
    each_endpoint: bool
    pause: float


class Rate(NamedTuple):
    per_second: float
    burst: float

    def part(self, share: float) -> Rate:
        return Rate(self.per_second * share, max(1.0, self.burst * share))

    @property
    def background_slack(self) -> float:
        """Seconds that background work may run ahead of the steady rate."""
        return self.slack * BACKGROUND

    @property
    def together(self) -> int:
        """Turns that background work takes at once, at most: half of what its slack allows."""
        return min(MOST_TOGETHER, int(self.background_slack * self.per_second / 2) + 1)

    @property
    def interval(self) -> float:
        return 1 / self.per_second

    @property
    def slack(self) -> float:
        """Seconds a burst may run ahead of the steady rate."""
        return (self.burst - 1) / self.per_second


UNLIMITED = Rate(1e9, 1e9)


class Reservation(NamedTuple):
    """Result of a reservation. `taken`: send after `wait` seconds, as many requests as there are `turns`. Otherwise
    nothing was reserved; retry after `wait`."""

    taken: bool
    wait: float
    turns: int = 1


class TokenBucket(Protocol):
    """Storage of reservations and holds. `longest` is how far ahead a reservation may be made, in seconds; `background`
    ones are never made ahead, and leave a part of the burst, so that users only wait for users."""

    def take(self, key: str, *, rate: Rate, background: bool, longest: float) -> Reservation: ...

    def held(self, key: str) -> bool: ...

    def hold(self, key: str, seconds: float, *, background_only: bool) -> None: ...


@dataclass
class _Bucket:
    all: float = float("-inf")
    held: float = float("-inf")
    background_held: float = float("-inf")


class Memory:
    """Token bucket of one process. `part` is its share of the rate if other processes count separately."""

    def __init__(self, *, part: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.part = part
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, key: str, *, rate: Rate, background: bool, longest: float) -> Reservation:
        rate = rate.part(self.part)
        with self._lock:
            now, bucket = self._clock(), self._buckets.setdefault(key, _Bucket())
            at = max(now, bucket.all - rate.slack, bucket.held)
            if background:
                at, longest = max(at, bucket.all - rate.background_slack, bucket.background_held), 0.0
            if at - now > longest:
                return Reservation(False, at - now)
            bucket.all = max(bucket.all, at) + rate.interval
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
    """Rate limiter called before each request and after each answer. Safe for several threads; several, also of several
    processes, may share one limit. Without arguments it only follows the limits in the answers it receives.

    `name` identifies the shared limit, `patience` is how many seconds a call may wait for its reservation.
    `background`: calls that no user waits for; they get what users leave, and only reservations that are free at once.
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
        self._rate, self._background = rate, background
        self.waited = 0.0  # seconds that all calls together waited for reservations
        self._patience, self._sleep, self._clock = patience, sleep, clock
        self._refusals: dict[str, int] = {}

    def wait(self, endpoint: str, *, seconds: float) -> datetime | None:
        """Wait for this call's reservation, at most `seconds`. Return None to send now, or the earliest time (aware
        UTC)."""
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
            self.waited += max(turn.wait, MOMENT)
            if turn.taken and not self._ledger.held(key):  # a hold may have been set while waiting
                return None

    def learn(self, endpoint: str, status: int, headers: Mapping[str, str]) -> datetime | None:
        """Apply the limits of an answer (header names in lower case). After a 429, return the retry time."""
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
        # What the portal can still send in this window. `Date` is cut to seconds, so it may end a second earlier.
        needed = self._rate.per_second * max(resets_in - 1, 0)
        if remaining == 0 or remaining < min(limit * RESERVE, needed):
            self._ledger.hold(key, min(resets_in, LONGEST), background_only=remaining > 0)
        return None

    def _key(self, endpoint: str) -> str:
        return f"{self._name}:{endpoint if self._each_endpoint else ''}"


def retry_at(headers: Mapping[str, str], now: datetime, *, unsaid: float = UNSAID) -> datetime:
    """Return when a rejected call may be retried: by `Retry-After` (seconds or an HTTP date), else by
    `X-RateLimit-Reset`.

    Clamped to 1..300 seconds from now, so that neither a wrong clock nor a hostile answer can block calls for long.
    `unsaid`: seconds to wait if neither is given.
    """
    given = (_retry_after(headers, now), _resets_in(headers, now))
    seconds = next((each for each in given if each is not None), unsaid)
    return now + timedelta(seconds=min(max(seconds, SHORTEST), LONGEST))


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    value = headers.get("retry-after", "")
    if (seconds := _number(value)) is not None:
        return seconds
    moment = _moment(value)
    return (moment - _their_now(headers, now)).total_seconds() if moment else None


def _resets_in(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds until `X-RateLimit-Reset`. It is an epoch at SendGrid (documented); a small number can only be
    the seconds themselves."""
    reset = _number(headers.get("x-ratelimit-reset"))
    if reset is None or reset < OLDEST_EPOCH:
        return reset
    return reset - _their_now(headers, now).timestamp()


def _their_now(headers: Mapping[str, str], now: datetime) -> datetime:
    """Return the time of the answer by the provider's own clock, `now` where it has no usable `Date`."""
    return _moment(headers.get("date", "")) or now


def _moment(value: str) -> datetime | None:
    """Return an HTTP date; None for anything else, or without a zone."""
    try:
        found = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.tzinfo else None


def _number(value: str | None) -> float | None:
    return float(value) if value and re.fullmatch(r"\d{1,15}(\.\d{1,9})?", value.strip(), re.ASCII) else None


def _integer(value: str | None) -> int | None:
    return int(value) if value and re.fullmatch(r"\d{1,15}", value.strip(), re.ASCII) else None
