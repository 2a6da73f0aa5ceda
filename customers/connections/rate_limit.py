"""One rate limit per connection for all web processes and workers, counted in Redis where there is one.

Redis may be slow, frozen or gone: a call waits for it a fraction of a second, then this process counts for itself, with
its share of the rate, and tries Redis again every few seconds. Without a Redis (one machine) the processes count each
other in a folder, and each keeps to its share. Nothing here ever makes a page or an operation fail.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from customers.models import Connection
from portal.providers.rate_limit import UTILIZATION, Memory, Pacing, Rate, Reservation

log = structlog.get_logger(__name__)

# How long a call waits for its turn: with a user or a lease behind it, and with neither. If longer, it is told when to
# retry.
PATIENCE, BACKGROUND_PATIENCE = 2.0, 15.0
REDIS_SECONDS = 0.2
LOOK_AGAIN_SECONDS = 5.0
# A process without a call for so long is not counted.
PEER_SECONDS = 60
# The number of processes assumed while it is not known.
UNKNOWN_PEERS = 8

# Background work that took several turns at once uses them within this time, or leaves them.
LEASE_SECONDS = 1.0

# One check and one write on the server, by its own clock. KEYS: bucket, active processes. ARGV: interval and slack of
# all, slack of the background (-1: not background), turns, how far ahead they may be booked, process.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('ZADD', KEYS[2], now, ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 60)
redis.call('EXPIRE', KEYS[2], 120)
local peers = redis.call('ZCARD', KEYS[2])
local kept = redis.call('HMGET', KEYS[1], 'all', 'held', 'background_held')
local all, interval, turns = tonumber(kept[1] or 0), tonumber(ARGV[1]), tonumber(ARGV[4])
local background_slack, longest = tonumber(ARGV[3]), tonumber(ARGV[5])
local at = math.max(now, all + (turns - 1) * interval - ARGV[2], tonumber(kept[2] or 0))
if background_slack >= 0 then
  at = math.max(at, all + (turns - 1) * interval - background_slack, tonumber(kept[3] or 0))
  longest = 0
end
local wait = at - now
if wait > longest then return {0, string.format('%.6f', wait), peers} end
redis.call('HSET', KEYS[1], 'all', string.format('%.6f', math.max(all, at) + turns * interval))
redis.call('EXPIRE', KEYS[1], 900)
return {1, string.format('%.6f', wait), peers}
"""
# KEYS: bucket. ARGV: field, seconds. Never shortens an earlier wait; seconds 0 only reads. Returns the rest.
_HOLD = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local till = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
if now + ARGV[2] > till and tonumber(ARGV[2]) > 0 then
  till = now + ARGV[2]
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.6f', till))
  redis.call('EXPIRE', KEYS[1], 900)
end
return string.format('%.6f', till - now)
"""


@dataclass(slots=True)
class _Lease:
    """Turns that background work of this process took at once: how many are left, and until when they, or the answer
    that there are none, hold. `size`: how many to take; twice as many once all were used in time, else as many as
    were, since turns that are left are lost to everybody."""

    left: int = 0
    until: float = 0.0
    size: int = 0

    def next_size(self, *, most: int) -> int:
        wanted = self.size - self.left if self.left else 2 * self.size
        return min(most, max(1, wanted))


class Shared:
    """The shared counter in Redis, with one in memory as a fallback."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_connect_timeout=REDIS_SECONDS,
            socket_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **(settings.REDIS_TLS if url.startswith("rediss://") else {}),
        )
        self._take, self._hold = self._redis.register_script(_TAKE), self._redis.register_script(_HOLD)
        self._alone = Memory()
        self.peers = UNKNOWN_PEERS  # how many processes count here, as last read
        self.lost = False
        self._look_again_at = 0.0
        self._lock = threading.Lock()
        self._leases: dict[str, _Lease] = {}
        self._leasing = threading.Lock()

    def take(self, key: str, *, rate: Rate, background: bool, longest: float) -> Reservation:
        if not background:
            return self._reserve(key, rate, turns=1, background_slack=-1, longest=longest)
        with self._leasing:
            lease = self._leases.setdefault(key, _Lease())
            if time.monotonic() >= lease.until:
                turns, slack = lease.next_size(most=rate.together), rate.background_slack
                got = self._reserve(key, rate, turns=turns, background_slack=slack, longest=longest)
                lease.left, lease.until = 0, time.monotonic() + (LEASE_SECONDS if got.taken else got.wait)
                if not got.taken:
                    return got
                lease.left = lease.size = got.turns
            if not lease.left:  # another thread was just told to wait
                return Reservation(False, max(lease.until - time.monotonic(), 0.0))
            lease.left -= 1
            if not lease.left:
                lease.until = 0.0
            return Reservation(True, 0.0)

    def _reserve(self, key: str, rate: Rate, *, turns: int, background_slack: float, longest: float) -> Reservation:
        background = background_slack >= 0
        if self._alone.held(key):  # reported to this process; it may not have reached Redis
            return self._alone.take(key, rate=rate, background=background, longest=longest)
        arguments = [rate.interval, rate.slack, background_slack, turns, longest, _me()]
        told = self._ask(self._take, [_name(key), _name("peers")], arguments)
        if told is None:
            self._alone.part = 1 / max(1, self.peers)
            return self._alone.take(key, rate=rate, background=background, longest=longest)
        taken, wait, self.peers = told
        return Reservation(bool(taken), float(wait), turns)

    def held(self, key: str) -> bool:
        left = self._ask(self._hold, [_name(key)], ["held", 0])
        return self._alone.held(key) if left is None else float(left) > 0

    def hold(self, key: str, seconds: float, *, background_only: bool) -> None:
        """Hold calls for `seconds`. Stored in memory too: the provider's wait also applies when Redis is lost a moment
        later."""
        self._alone.hold(key, seconds, background_only=background_only)
        with self._leasing:
            self._leases.pop(key, None)
        self._ask(self._hold, [_name(key)], ["background_held" if background_only else "held", seconds])

    def _ask(self, script: Any, keys: list[str], arguments: list[Any]) -> Any:
        """Return the script's result, or None while Redis is lost."""
        if self.lost and not self._my_turn_to_look():
            return None
        try:
            told = script(keys=keys, args=arguments)
        except (redis.RedisError, OSError) as error:
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
            if not self.lost:
                self.lost = True
                log.warning("pacing.redis_lost", error=type(error).__name__, peers=self.peers)
            return None
        if self.lost:
            self.lost = False
            log.info("pacing.redis_back")
        return told

    def _my_turn_to_look(self) -> bool:
        """Return whether this thread is to check if Redis is back; the others do not wait for the result."""
        with self._lock:
            if time.monotonic() < self._look_again_at:
                return False
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
            return True


class Apart(Memory):
    """The counter of one of several processes without Redis. Each process with a call marks a file of its own in
    `folder`, and the rate is divided by how many did in the last minute. A new one is counted by the others within
    `LOOK_AGAIN_SECONDS`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._look_again_at = 0.0
        self._marked_by = 0

    def take(self, key: str, *, rate: Rate, background: bool, longest: float) -> Reservation:
        if self._marked_by != os.getpid() or time.monotonic() >= self._look_again_at:
            with suppress(OSError):
                self.part = 1 / self._count()
        return super().take(key, rate=rate, background=background, longest=longest)

    def _count(self) -> int:
        self._marked_by, self._look_again_at = os.getpid(), time.monotonic() + LOOK_AGAIN_SECONDS
        self._folder.mkdir(parents=True, exist_ok=True)
        mine = self._folder / str(self._marked_by)
        mine.touch()
        lately, peers = mine.stat().st_mtime - PEER_SECONDS, 0
        for each in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if each.stat().st_mtime >= lately:
                    peers += 1
                else:
                    each.unlink()
        return max(1, peers)


def pacer_of(connection: Connection, *, background: bool = False) -> Pacing:
    """Return the pacer for one client of `connection`. `background`: no user waits for its calls."""
    pace = connection.capabilities.pace
    per_minute = connection.requests_per_minute
    return Pacing(
        _ledger(settings.REDIS_URL),
        name=str(connection.public_id),
        rate=Rate(per_minute / 60 * UTILIZATION, max(1.0, pace.burst * per_minute / pace.per_minute)),
        each_endpoint=pace.each_endpoint,
        pause=pace.pause,
        background=background,
        patience=BACKGROUND_PATIENCE if background else PATIENCE,
    )


@lru_cache(maxsize=4)
def _ledger(url: str) -> Shared | Apart:
    return Shared(url) if url else Apart(settings.PACE_FOLDER)


def _name(key: str) -> str:
    return f"portal:pace:{key}"


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
