"""Request quotas, stored in memory: a restart resets them, as at a provider.

`take` counts per key and operation in fixed windows of the sandbox's clock; `reset` is an epoch, not a duration. `draw`
is a token bucket, for providers with a rate per second and a burst.
"""

import threading
import time
from dataclasses import dataclass

WINDOW = 60
UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    limit: int
    remaining: int
    reset: int
    exceeded: bool

    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


class Limiter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}
        self._buckets: dict[tuple[str, str], tuple[float, float, float]] = {}

    def take(self, key: str, operation: str, *, rate: int, now: float) -> Quota:
        """Count one request; `rate` is requests per minute, 0 for no limit."""
        window = int(now // WINDOW)
        limit = rate or UNLIMITED
        with self._lock:
            known, used = self._counts.get((key, operation), (window, 0))
            used = used + 1 if known == window else 1
            self._counts[key, operation] = (window, used)
        return Quota(limit, max(0, limit - used), (window + 1) * WINDOW, used > limit)

    def draw(self, key: str, kind: str, *, rate: float, burst: int, now: float) -> bool:
        """Take one token; return False if there is none. `rate` is tokens per second, 0 for no limit.

        The bucket fills by the sandbox's clock or by real time, whichever advanced further: a test may move the clock,
        and a frozen clock must not block a client permanently.
        """
        if not rate:
            return True
        real = time.monotonic()
        with self._lock:
            tokens, filled_at, filled_real = self._buckets.get((key, kind), (float(burst), now, real))
            tokens = min(float(burst), tokens + rate * max(now - filled_at, real - filled_real))
            allowed = tokens >= 1
            self._buckets[key, kind] = (tokens - 1 if allowed else tokens, now, real)
        return allowed

    def untouched(self, *, rate: int, now: float) -> Quota:
        """Return the quota shown to a caller without a key."""
        limit = rate or UNLIMITED
        return Quota(limit, limit, (int(now // WINDOW) + 1) * WINDOW, exceeded=False)

    def forget(self) -> None:
        with self._lock:
            self._counts.clear()
            self._buckets.clear()
