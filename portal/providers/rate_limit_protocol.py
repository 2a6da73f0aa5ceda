"""Rate limits: the limit of a kind of provider, and the interface an HTTP client expects of its pacer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


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


class Pacer(Protocol):
    """Rate limiter called before each request and after each answer. Safe for several threads; several pacers, also of
    several processes, may share one limit."""

    def wait(self, endpoint: str, *, seconds: float) -> datetime | None:
        """Wait for this call's reservation, at most `seconds`. Return None to send now, or the earliest time (aware
        UTC)."""
        ...

    def learn(self, endpoint: str, status: int, headers: Mapping[str, str]) -> datetime | None:
        """Apply the limits of an answer (header names in lower case). After a 429, return the retry time."""
        ...
