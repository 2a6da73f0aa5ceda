"""The provider's own rate limit, read from its answers and obeyed."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

SHORTEST, LONGEST, UNSAID = 1, 300, 60


def _now() -> datetime:
    return datetime.now(UTC)


def _integer(value: str | None) -> int | None:
    return int(value) if value and re.fullmatch(r"\d{1,15}", value.strip(), re.ASCII) else None


def retry_at(headers: Mapping[str, str], now: datetime) -> datetime:
    """When a refused call may be tried again: `X-RateLimit-Reset` is an epoch, `Retry-After` is in seconds.

    Clamped to 1..300 seconds from now, so that neither a clock that is wrong nor a hostile answer can stop us
    for long.
    """
    reset, after = _integer(headers.get("x-ratelimit-reset")), _integer(headers.get("retry-after"))
    seconds = reset - now.timestamp() if reset is not None else UNSAID if after is None else after
    return now + timedelta(seconds=min(max(seconds, SHORTEST), LONGEST))


class Pacing:
    """Remembers, per class of endpoints, until when the provider wants silence. Safe for several threads."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def blocked_until(self, endpoint: str) -> datetime | None:
        with self._lock:
            until = self._until.get(endpoint)
            return until if until and until > _now() else None

    def learn(self, endpoint: str, status: int, headers: Mapping[str, str]) -> None:
        spent = _integer(headers.get("x-ratelimit-remaining")) == 0
        told = _integer(headers.get("x-ratelimit-reset")) is not None
        if status == 429 or (spent and told):
            with self._lock:
                self._until[endpoint] = retry_at(headers, _now())
